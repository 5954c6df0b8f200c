"""The peer dlt, run in an environment of its own (bench.peers): lists into one PostgreSQL, merged by their id.

python peer_dlt.py URL TENANT DATABASE_URL LIST...
"""

import sys

import dlt  # pyright: ignore[reportMissingImports]
from dlt.sources.rest_api import rest_api_source  # pyright: ignore[reportMissingImports]


def main() -> None:
    """One load."""
    url, tenant, database, *lists = sys.argv[1:]
    source = rest_api_source(
        {
            "client": {
                "base_url": url,
                "auth": {
                    "type": "oauth2_client_credentials",
                    "access_token_url": f"{url}/connect/token",
                    "client_id": "bench",
                    "client_secret": "bench",
                },
                "headers": {"ST-App-Key": "bench"},
                "paginator": {
                    "type": "page_number",
                    "base_page": 1,
                    "page_param": "page",
                    "total_path": None,
                },
            },
            "resource_defaults": {
                "primary_key": "id",
                "write_disposition": {"disposition": "merge", "strategy": "upsert"},
                "max_table_nesting": 0,
                "parallelized": True,
            },
            "resources": [
                {
                    "name": name.replace("/", "_"),
                    "endpoint": {
                        "path": f"{'jpm' if name == 'jobs' else 'crm'}/v2/tenant/{tenant}/{name}",
                        "params": {"pageSize": 5000},
                        "data_selector": "data",
                    },
                }
                for name in lists
            ],
        }
    )
    pipeline = dlt.pipeline("bench", destination=dlt.destinations.postgres(database), dataset_name="bench")
    pipeline.run(source, loader_file_format="csv")


if __name__ == "__main__":
    main()
