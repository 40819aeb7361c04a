// The smallest function in JavaScript: it answers / and /hello.
'use strict';

const http = require('node:http');

const port = Number(process.env.PORT || 8080);

http
  .createServer((request, response) => {
    const { pathname } = new URL(request.url, 'http://function');
    const found = pathname === '/' || pathname === '/hello';
    response.writeHead(found ? 200 : 404, { 'Content-Type': 'text/plain; charset=utf-8' });
    response.end(found ? 'Hello from Node\n' : 'Not found\n');
  })
  .listen(port);
