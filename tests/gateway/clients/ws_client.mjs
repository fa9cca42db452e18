// ws as a client: prints what it is sent, and does what each line that it reads says.
import { createInterface } from 'node:readline';
import WebSocket from 'ws';

const [url] = process.argv.slice(1);
const socket = new WebSocket(url, ['chat.v2']);
socket.on('open', () => console.log('open', socket.protocol, JSON.stringify(socket.extensions)));
socket.on('message', (data, isBinary) =>
  console.log(isBinary ? `binary ${data.length} ${sum(data)}` : `text ${data}`));
socket.on('ping', (data) => console.log(`ping ${data}`));
socket.on('pong', (data) => console.log(`pong ${data}`));
socket.on('error', (error) => console.log('error', error.message));
socket.on('close', (code, reason) => {
  console.log(`close ${code} ${reason}`);
  process.exit();
});

// FNV-1a
const sum = (data) => data.reduce((sum, byte) => Math.imul(sum ^ byte, 16777619) >>> 0, 2166136261);

createInterface({ input: process.stdin }).on('line', (line) => {
  const [word, ...rest] = line.split(' ');
  ({
    text: () => socket.send(rest.join(' ')),
    binary: () => socket.send(Uint8Array.from({ length: +rest[0] }, (_, at) => at % 251)),
    ping: () => socket.ping(rest[0]),
    close: () => socket.close(+rest[0], rest[1]),
    vanish: () => socket.terminate(),
  })[word]();
});
