// Runs the script of a page with as much of a browser as it asks for, and tells what it has drawn:
//     node dom.js PAGE.html
const fs = require('fs');

class Element {
  constructor(name, text = '') {
    Object.assign(this, {name, own: text, attributes: {}, children: [], style: {}, hidden: false});
    this.parentNode = null;
    this.clientWidth = 400;
  }
  set textContent(text) { this.own = String(text); }
  get textContent() { return this.own; }
  setAttribute(key, value) { this.attributes[key] = String(value); }
  appendChild(child) { child.parentNode = this; this.children.push(child); }
  replaceChildren() { this.children = []; }
  all() { return this.children.flatMap(child => [child, ...child.all()]); }
  querySelector(name) { return this.all().find(one => one.name === name) || null; }
  getBoundingClientRect() { return {left: 0}; }
  setPointerCapture() {}
}

const text = fs.readFileSync(process.argv[2], 'utf8');
const data = text.match(/<script id="data"[^>]*>(.*?)<\/script>/s)[1];
const script = text.match(/<script>(.*?)<\/script>/s)[1];
const known = {data: new Element('script', data)};
for (const [, name, id] of text.split('<script')[0].matchAll(/<(\w+)[^>]* id="(\w+)"/g)) {
  known[id] = new Element(name);
  new Element('label').appendChild(known[id]);
}
const make = name => new Element(name);
globalThis.document = {
  getElementById: id => known[id],
  createElement: make,
  createElementNS: (space, name) => make(name),
};
Object.assign(globalThis, {addEventListener() {}, innerWidth: 1000, innerHeight: 1000});
(0, eval)(script);

const figures = known.panels.children;
const told = () => figures.map(figure => {
  const drawn = figure.querySelector('svg').all();
  const names = drawn.filter(one => one.name === 'text');
  return {
    title: figure.querySelector('b').textContent,
    best: figure.querySelector('span').textContent,
    rows: names.filter(one => one.attributes['text-anchor'] === 'end').map(one => one.textContent),
    columns: names.filter(one => one.attributes['text-anchor'] === 'middle' &&
      /\d/.test(one.textContent)).map(one => one.textContent),
    curves: drawn.filter(one => one.name === 'path' && one.attributes['stroke-width'] === '1.5')
      .map(one => one.attributes.d),
    stages: names.filter(one => one.textContent.startsWith('stage')).map(one => one.textContent),
  };
});
const all = told();
const svg = figures[0].querySelector('svg');
svg.onpointermove({clientX: 200, clientY: 10});
const tip = known.tip.all().map(one => one.textContent).filter(one => one);
svg.onpointerdown({clientX: 100, pointerId: 1});
svg.onpointerup({clientX: 200});
const zoomed = told();
svg.ondblclick();
known.legend.children[0].onclick();
const hidden = told();
known.legend.children[0].onclick();
known.x.onchange({target: {value: 'epoch'}});
console.log(JSON.stringify({all, tip, zoomed, hidden, epochs: told()}));
