// ws as a server: echoes what it is sent, compressed if the client takes that.
import { WebSocketServer } from 'ws';

const server = new WebSocketServer({ host: '127.0.0.1', port: 0, perMessageDeflate: { threshold: 0 } });
server.on('listening', () => console.log(server.address().port));
server.on('connection', (socket, request) => {
  console.log('open', request.headers['x-forwarded-for'], JSON.stringify(socket.extensions));
  socket.on('message', (data, isBinary) => socket.send(data, { binary: isBinary }));
  socket.on('close', (code, reason) => console.log(`close ${code} ${reason}`));
});
