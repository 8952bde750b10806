"""A local upstream that plays stocks, news and weather, so that hotdata can be seen at work without the internet."""
