// The smallest server in JavaScript: it answers /hello.
'use strict';

const http = require('node:http');

http
  .createServer((request, response) => {
    const found = request.url === '/hello';
    response.writeHead(found ? 200 : 404, { 'Content-Type': 'text/plain; charset=utf-8' });
    response.end(found ? 'Hello from Node\n' : 'Not found\n');
  })
  .listen(Number(process.env.PORT || 8080));
