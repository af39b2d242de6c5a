# prints: rows after the cancellation: 1000
import trio


async def export(rows):
    for row in range(1000):
        rows.append(row)


async def main():
    rows = []
    with trio.CancelScope() as scope:
        scope.cancel()
        await export(rows)
    print("rows after the cancellation:", len(rows))


trio.run(main)
