"use strict";
// Arrays and images that are stored in the page, see html.py.

const UNLABELLED = 255; // the label of a pixel that counts in no score

// Returns the bytes of an element whose text is zlib's compressed data in base64.
async function unpack(id) {
  const text = atob(document.getElementById(id).textContent.trim());
  const compressed = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) compressed[i] = text.charCodeAt(i);
  const stream = new Blob([compressed]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

// Returns the Uint16Array whose differences along rows are given, all high bytes, then all low ones.
function fromDifferences(bytes, width) {
  const count = bytes.length / 2;
  const values = new Uint16Array(count);
  for (let row = 0; row < count; row += width) {
    let value = 0;
    for (let i = row; i < row + width; i++) {
      value += (bytes[i] << 8) | bytes[count + i]; // the array takes it modulo 65536
      values[i] = value;
    }
  }
  return values;
}

// Returns the Uint16Array of the values times 257 whose differences along rows are given as bytes.
function fromByteDifferences(bytes, width) {
  const values = new Uint16Array(bytes.length);
  for (let row = 0; row < bytes.length; row += width) {
    let value = 0;
    for (let i = row; i < row + width; i++) {
      value = (value + bytes[i]) & 255;
      values[i] = 257 * value;
    }
  }
  return values;
}

// Returns the pictures, one after the other, whose differences along columns and rows are given.
//
// shapes: [{height, width}] of the pictures.
function fromPictures(bytes, shapes) {
  const values = new Uint8Array(bytes.length);
  let at = 0;
  for (const { height, width } of shapes) {
    for (let row = 0; row < height; row++) {
      let step = 0;
      for (let column = 0; column < width; column++, at++) {
        step += bytes[at];
        values[at] = (row ? values[at - width] : 0) + step; // the array takes it modulo 256
      }
    }
  }
  return values;
}

// Returns the drawing context of a canvas that holds the images of all tiles; null without them.
async function readMosaic(id) {
  const source = document.getElementById(id).textContent.trim();
  if (!source) return null;
  const image = new Image();
  image.src = source;
  await image.decode();
  const canvas = document.createElement("canvas");
  canvas.width = image.naturalWidth;
  canvas.height = image.naturalHeight;
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(image, 0, 0);
  return context;
}
