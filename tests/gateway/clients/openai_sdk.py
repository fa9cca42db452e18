"""The OpenAI SDK: prints each token as it comes, and how the answer ends.

Usage: openai_sdk.py URL {h1,h2} {sync,async} {stream,whole}

A line on the standard input makes the asynchronous one cancel its task; the synchronous one closes its
stream when it has read the token `leave`.
"""

import asyncio
import sys

import httpx2
import openai

URL, PROTOCOL, KIND, ANSWER = sys.argv[1:]
VERSIONS = {"http1": PROTOCOL == "h1", "http2": PROTOCOL == "h2"}
SETTINGS = {"base_url": URL + "/v1", "api_key": "none", "max_retries": 0}
QUESTION = {
    "model": "demo",
    "messages": [{"role": "user", "content": "hello"}],
    "stream": ANSWER == "stream",
}


def tell(*words):
    print(*words, flush=True)


def see(chunk):
    """Tells of the comments, which the SDK keeps to itself."""
    for _ in range(chunk.count(b": keep-alive\n")):
        tell("keep-alive")
    return chunk


class Seen(httpx2.SyncByteStream):
    def __init__(self, stream):
        self.stream = stream

    def __iter__(self):
        return map(see, self.stream)

    def close(self):
        self.stream.close()


class Transport(httpx2.HTTPTransport):
    def handle_request(self, request):
        response = super().handle_request(request)
        response.stream = Seen(response.stream)
        return response


def ask():
    http = openai.DefaultHttpxClient(transport=Transport(**VERSIONS))
    client = openai.OpenAI(http_client=http, **SETTINGS)
    answer = client.chat.completions.create(**QUESTION)
    if ANSWER == "whole":
        return tell(answer.choices[0].message.content)
    tell("head")
    for chunk in answer:
        token = chunk.choices[0].delta.content
        tell(token)
        if token == "leave":
            answer.close()
            return tell("left")
    tell("end")


async def ask_async():
    http = openai.DefaultAsyncHttpxClient(transport=httpx2.AsyncHTTPTransport(**VERSIONS))
    client = openai.AsyncOpenAI(http_client=http, **SETTINGS)
    answer = await client.chat.completions.create(**QUESTION)
    if ANSWER == "whole":
        return tell(answer.choices[0].message.content)
    tell("head")
    async for chunk in answer:
        tell(chunk.choices[0].delta.content)
    tell("end")


async def ask_until_told():
    loop, asking = asyncio.get_running_loop(), asyncio.current_task()

    def told():
        loop.remove_reader(sys.stdin)
        asking.cancel()

    loop.add_reader(sys.stdin, told)
    try:
        await ask_async()
    except asyncio.CancelledError:
        tell("cancelled")


try:
    if KIND == "sync":
        ask()
    else:
        asyncio.run(ask_until_told())
except openai.APIStatusError as error:
    tell(type(error).__name__, error.status_code, error.response.text.strip())
except (openai.APIError, httpx2.HTTPError) as error:
    tell(type(error).__name__)
