"""JobSync keeps a contractor's GoHighLevel pipelines equal to what ServiceTitan says about their jobs."""

__version__ = "0.1.0"
