// SPDX-License-Identifier: Apache-2.0
// resize.mjs PORT: a thumbnail service. GET /N answers with the sizes of three thumbnails of picture N, which it makes up.
import http from 'node:http';
import sharp from 'sharp';

const WIDTHS = [1200, 640, 200];

/** The same pixels for the same number: bands that a JPEG does not shrink to nothing. */
function picture(number) {
  const width = 1600 + (number % 7) * 200, height = 1200 + (number % 5) * 150;
  const pixels = Buffer.alloc(width * height * 3);
  for (let i = 0, state = number + 1; i < pixels.length; ++i) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    pixels[i] = ((i >> 8) + (state >>> 28)) & 255;
  }
  return sharp(pixels, { raw: { width, height, channels: 3 } });
}

async function thumbnails(number) {
  const original = await picture(number).jpeg().toBuffer();
  const made = await Promise.all(WIDTHS.map((width) => sharp(original).resize(width).webp({ effort: 0 }).toBuffer()));
  return made.map((image) => image.length).join(' ');
}

http.createServer((request, response) => {
  thumbnails(Number(request.url.slice(1))).then((sizes) => response.end(`${sizes}\n`), (error) => {
    response.statusCode = 500;
    response.end(`${error}\n`);
  });
}).listen(Number(process.argv[2]), '127.0.0.1', () => console.log('READY'));
