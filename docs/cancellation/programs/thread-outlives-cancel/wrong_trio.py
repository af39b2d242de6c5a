# prints: the thread went on after the cancellation
import threading

import trio

resume, ended = threading.Event(), threading.Event()


def export():
    resume.wait(5)
    print("the thread went on after the cancellation")
    ended.set()


async def main():
    with trio.move_on_after(0.1):
        await trio.to_thread.run_sync(export, abandon_on_cancel=True)
    resume.set()
    ended.wait(5)


trio.run(main)
