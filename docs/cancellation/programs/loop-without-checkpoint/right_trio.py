# prints: rows after the cancellation: 0
import trio


async def export(rows):
    for row in range(1000):
        await trio.lowlevel.checkpoint()  # a cancellation is raised here, and others may run
        rows.append(row)


async def main():
    rows = []
    with trio.CancelScope() as scope:
        scope.cancel()
        await export(rows)
    print("rows after the cancellation:", len(rows))


trio.run(main)
