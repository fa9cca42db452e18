// Node's own fetch: prints each chunk as it comes, and hangs up when told to.
const [url] = process.argv.slice(1);
const hangUp = new AbortController();
process.stdin.once('data', () => hangUp.abort()).unref();
try {
  const response = await fetch(url, { signal: hangUp.signal });
  console.log(response.status, response.headers.get('content-type'));
  for await (const chunk of response.body.pipeThrough(new TextDecoderStream()))
    console.log(JSON.stringify(chunk));
  console.log('end');
} catch (error) {
  console.log(error.name, error.message);
}
process.exit();
