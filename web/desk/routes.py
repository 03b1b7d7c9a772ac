"""Everything that the desk adds to the application."""

from web.desk import abuse, catalogue, categories, home, live, people, sales, series

PAGES = (
    home.blueprint,
    live.blueprint,
    sales.blueprint,
    catalogue.blueprint,
    categories.blueprint,
    series.blueprint,
    people.blueprint,
    abuse.blueprint,
)
