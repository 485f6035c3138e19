"""A small MCP server to try the gateway with: a bookshop in memory, no network, no keys."""

from typing import Annotated, Literal

from mcp.server import MCPServer
from pydantic import BaseModel, Field

server = MCPServer("bookshop", instructions="Prices are in euros. Look a book up before you order it.")

Isbn = Annotated[str, Field(description="The book's ISBN-13, digits only.", pattern=r"^\d{13}$")]


class Book(BaseModel):
    """One title of the shop."""

    isbn: str
    title: str
    author: str
    year: int
    price: float
    stock: int


BOOKS = {
    book.isbn: book
    for book in (
        Book(isbn="9780262510875", title="SICP", author="Abelson", year=1985, price=68.0, stock=3),
        Book(isbn="9780201896831", title="Fundamental Algorithms", author="Knuth", year=1968, price=79.0, stock=1),
        Book(isbn="9780131103627", title="The C Language", author="Kernighan", year=1978, price=55.0, stock=0),
    )
}
ORDERS: list[dict[str, str | int]] = []


@server.tool()
def search_books(
    words: Annotated[str, Field(description="Words from the title or the author's name.")],
    *,
    in_stock: Annotated[bool, Field(description="Only books that can be sent today.")] = False,
    sort: Annotated[Literal["title", "year", "price"], Field(description="What to sort by.")] = "title",
    limit: Annotated[int, Field(description="How many books at the most.", ge=1, le=50)] = 10,
) -> list[Book]:
    """Search the shop for books. Finds all whose title or author has one of the words."""
    wanted = words.lower().split()
    found = [book for book in BOOKS.values() if any(word in f"{book.title} {book.author}".lower() for word in wanted)]
    ready = [book for book in found if book.stock or not in_stock]
    return sorted(ready, key=lambda book: getattr(book, sort))[:limit]


@server.tool()
def get_book(isbn: Isbn) -> Book:
    """Look up one book by its ISBN, with price and stock."""
    return BOOKS[isbn]


@server.tool()
def list_authors() -> list[str]:
    """List the names of all authors whose books the shop sells, in alphabetical order."""
    return sorted({book.author for book in BOOKS.values()})


@server.tool()
def place_order(
    isbn: Isbn,
    copies: Annotated[int, Field(description="How many copies to send.", ge=1, le=20)] = 1,
    note: Annotated[str, Field(description="A line for the parcel, such as a greeting.", max_length=200)] = "",
) -> str:
    """Order copies of a book. Fails if there are fewer copies in stock."""
    if BOOKS[isbn].stock < copies:
        return f"Only {BOOKS[isbn].stock} in stock."
    BOOKS[isbn].stock -= copies
    ORDERS.append({"isbn": isbn, "copies": copies, "note": note})
    return f"Order {len(ORDERS)} placed."


@server.tool()
def list_orders(
    status: Annotated[Literal["open", "sent", "all"], Field(description="Which orders to show.")] = "all",
) -> list[dict[str, str | int]]:
    """List the orders that were placed, the newest last."""
    return ORDERS if status != "sent" else []


@server.tool()
def cancel_order(number: Annotated[int, Field(description="The order's number, as place_order gave it.", ge=1)]) -> str:
    """Cancel an order that has not been sent yet, and put its copies back into stock."""
    order = ORDERS.pop(number - 1)
    BOOKS[str(order["isbn"])].stock += int(order["copies"])
    return "Cancelled."


if __name__ == "__main__":
    server.run()
