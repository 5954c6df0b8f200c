set local search_path = public;
