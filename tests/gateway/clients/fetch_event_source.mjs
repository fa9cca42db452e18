// @microsoft/fetch-event-source: prints each event, comes back when the stream breaks or ends, and
// leaves when told to.
import { fetchEventSource } from '@microsoft/fetch-event-source';

// It is made for browsers, and looks whether the page is hidden.
globalThis.window = globalThis;
globalThis.document = Object.assign(new EventTarget(), { hidden: false });

const [url] = process.argv.slice(1);
const leave = new AbortController();
process.stdin.once('data', () => leave.abort());
await fetchEventSource(url, {
  method: 'POST',
  headers: { 'content-type': 'application/json' },
  body: JSON.stringify({ stream: true }),
  signal: leave.signal,
  async onopen(response) {
    console.log('open', response.status, response.headers.get('content-type'));
  },
  onmessage({ id, event, data }) {
    console.log(JSON.stringify({ id, event, data }));
  },
  onclose() {
    throw new Error('closed');
  },
  onerror(error) {
    console.log('error', error.message);
    return 1; // ms until it asks again
  },
});
console.log('left');
process.exit();
