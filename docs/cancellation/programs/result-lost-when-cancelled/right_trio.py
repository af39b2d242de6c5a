# prints: jobs lost: 0
import trio

done = []


async def work(receive, scope):
    while True:
        job = await receive.receive()
        if job == "job 2":
            scope.cancel()  # in this moment, for example by a timeout
        done.append(job)  # first to a place where it is not lost, then wait again
        await trio.sleep(0)


async def main():
    send, receive = trio.open_memory_channel(3)
    for number in (1, 2, 3):
        send.send_nowait(f"job {number}")
    with trio.CancelScope() as scope:
        await work(receive, scope)
    print("jobs lost:", 3 - len(done) - receive.statistics().current_buffer_used)


trio.run(main)
