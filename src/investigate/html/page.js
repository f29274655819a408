'use strict';
// What the page has is there without this script; it filters, sorts, zooms and opens. Text is moved and
// compared, never made into markup.
document.documentElement.classList.add('on');

for (const sheet of document.querySelectorAll('.sheet')) {
  const table = sheet.querySelector('table');
  const filter = sheet.querySelector('.filter');
  const shown = sheet.querySelector('.shown');
  const all = sheet.querySelector('.all');
  const rows = Array.from(table.tBodies);
  const texts = new Map();
  let range = null;

  const text = (row) => {
    if (!texts.has(row)) texts.set(row, row.textContent.toLowerCase());
    return texts.get(row);
  };
  const apply = () => {
    const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
    let count = 0;
    for (const row of rows) {
      const time = Number(row.dataset.t);
      const inside = !range || !row.dataset.t || (time >= range[0] && time <= range[1]);
      row.hidden = !(inside && words.every((word) => text(row).includes(word)));
      if (!row.hidden) count += 1;
    }
    shown.textContent = count === rows.length ? `${count}` : `${count} of ${rows.length}`;
  };
  filter.addEventListener('input', apply);
  document.addEventListener('range', (event) => {
    if (!rows.some((row) => row.dataset.t)) return;
    range = event.detail;
    apply();
  });
  if (all) {
    all.addEventListener('click', () => {
      const open = all.textContent === 'open all';
      for (const row of rows) {
        const box = row.querySelector('input');
        if (box && !row.hidden) box.checked = open;
      }
      all.textContent = open ? 'close all' : 'open all';
    });
  }

  Array.from(table.tHead.rows[0].cells).forEach((head, column) => {
    if (head.classList.contains('open')) return;
    // No <button>: Chromium prints none in the heads that it repeats on every page.
    const button = document.createElement('span');
    button.tabIndex = 0;
    button.setAttribute('role', 'button');
    button.textContent = head.textContent;
    head.replaceChildren(button);
    button.addEventListener('keydown', (event) => {
      if (event.key !== 'Enter' && event.key !== ' ') return;
      event.preventDefault();
      button.click();
    });
    button.addEventListener('click', () => {
      const up = head.getAttribute('aria-sort') !== 'ascending';
      for (const other of table.tHead.rows[0].cells) other.removeAttribute('aria-sort');
      head.setAttribute('aria-sort', up ? 'ascending' : 'descending');
      const key = (row) => {
        const cell = row.rows[0].cells[column];
        return 'sort' in cell.dataset ? cell.dataset.sort : cell.textContent;
      };
      const order = new Intl.Collator('en', { numeric: true });
      const sorted = rows.map((row) => [key(row), row]);
      sorted.sort((a, b) => (up ? order.compare(a[0], b[0]) : order.compare(b[0], a[0])));
      for (const [, row] of sorted) table.append(row);
    });
  });

  // A click on a row opens it, unless somebody marks text or follows a link.
  table.addEventListener('click', (event) => {
    if (event.target.closest('a, input, button, .doc') || String(getSelection())) return;
    const box = event.target.closest('tbody')?.querySelector('td.open input');
    if (box) box.checked = !box.checked;
  });
}

// A link to a row that a filter hides shows it.
addEventListener('hashchange', () => {
  const row = document.getElementById(location.hash.slice(1));
  if (row && row.matches('tbody')) {
    row.hidden = false;
    const box = row.querySelector('td.open input');
    if (box) box.checked = true;
    row.scrollIntoView({ block: 'center' });
  }
});

const graph = document.querySelector('.graph');
if (graph) {
  const edges = Array.from(graph.querySelectorAll('.edge'));
  const nodes = Array.from(graph.querySelectorAll('.node'));
  const look = (own) => {
    const near = new Set([own]);
    for (const edge of edges) {
      const { a, b } = edge.dataset;
      const touches = a === own || b === own;
      if (touches) near.add(a).add(b);
      edge.classList.toggle('near', own !== null && touches);
      edge.classList.toggle('far', own !== null && !touches);
    }
    for (const node of nodes) node.classList.toggle('far', own !== null && !near.has(node.dataset.n));
  };
  for (const node of nodes) {
    node.addEventListener('pointerenter', () => look(node.dataset.n));
    node.addEventListener('pointerleave', () => look(null));
  }
}

const picture = document.querySelector('.timeline');
if (picture) {
  const { left, right, bottom, from, until } = Object.fromEntries(
    Object.entries(picture.dataset).map(([name, value]) => [name, Number(value)]),
  );
  const marks = Array.from(picture.querySelectorAll('.mark'));
  const bars = Array.from(picture.querySelectorAll('.bar rect'));
  const ticks = picture.querySelector('.ticks');
  const brush = picture.querySelector('.brush');
  const told = document.querySelector('.range');
  const day = 86400000;
  const steps = [1e3, 5e3, 15e3, 3e4, 6e4, 3e5, 9e5, 18e5, 36e5, 108e5, 216e5, 432e5,
    day, 2 * day, 7 * day, 30 * day, 90 * day, 365 * day];
  const least = Math.min(1, 2000 / (until - from));
  let begin = 0;
  let end = 1;

  const place = (part) => left + ((part - begin) / (end - begin)) * (right - left);
  const time = (part) => from + part * (until - from);
  const add = (name, attributes, text) => {
    const node = document.createElementNS(picture.namespaceURI, name);
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    node.textContent = text;
    ticks.append(node);
  };
  const drawTicks = () => {
    ticks.replaceChildren();
    const [first, last] = [time(begin), time(end)];
    const step = steps.find((one) => (last - first) / one <= 10) || (last - first) / 10;
    let known = '';
    for (let at = Math.floor(first / step) * step + step; at <= last; at += step) {
      const x = place((at - from) / (until - from)).toFixed(1);
      const whole = new Date(at).toISOString();
      add('line', { x1: x, x2: x, y1: 0, y2: bottom }, '');
      if (step < day) {
        add('text', { x, y: bottom + 13, 'text-anchor': 'middle' }, whole.slice(11, step < 6e4 ? 19 : 16));
      }
      if (known !== whole.slice(0, 10)) {
        known = whole.slice(0, 10);
        add('text', { x, y: bottom + 28, 'text-anchor': 'middle', class: 'day' }, known);
      }
    }
  };
  const show = (a, b) => {
    const span = Math.min(1, Math.max(least, b - a));
    begin = Math.min(1 - span, Math.max(0, a));
    end = begin + span;
    for (const mark of marks) {
      mark.setAttribute('transform', `translate(${place(Number(mark.dataset.f)).toFixed(1)} ${mark.dataset.y})`);
    }
    for (const bar of bars) {
      const [x, y] = [place(Number(bar.dataset.f)), place(Number(bar.dataset.g))];
      bar.setAttribute('x', x.toFixed(1));
      bar.setAttribute('width', Math.max(6, y - x).toFixed(1));
    }
    drawTicks();
    const whole = span === 1;
    const words = (part) => new Date(time(part)).toISOString().slice(0, 19).replace('T', ' ');
    told.textContent = whole ? '' : `${words(begin)} to ${words(end)}`;
    const detail = whole ? null : [time(begin), time(end)];
    document.dispatchEvent(new CustomEvent('range', { detail }));
  };
  const zoom = (factor, middle) => {
    const at = middle ?? (begin + end) / 2;
    show(at - (at - begin) * factor, at + (end - at) * factor);
  };
  const move = (part) => show(begin + (end - begin) * part, end + (end - begin) * part);
  const acts = {
    in: () => zoom(0.5), out: () => zoom(2), left: () => move(-0.3), right: () => move(0.3), all: () => show(0, 1),
  };
  for (const button of document.querySelectorAll('[data-zoom]')) {
    button.addEventListener('click', acts[button.dataset.zoom]);
  }
  const keys = { '+': 'in', '-': 'out', ArrowLeft: 'left', ArrowRight: 'right', 0: 'all' };
  picture.addEventListener('keydown', (event) => {
    if (!keys[event.key] || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    acts[keys[event.key]]();
  });

  // Where the pointer is, as a part of the whole.
  const x = (event) => {
    const point = new DOMPoint(event.clientX, event.clientY);
    return point.matrixTransform(picture.getScreenCTM().inverse()).x;
  };
  const part = (at) => begin + ((at - left) / (right - left)) * (end - begin);
  picture.addEventListener('wheel', (event) => {
    // The plain wheel scrolls the page, unless the picture was chosen by a click.
    if (!event.ctrlKey && !event.metaKey && document.activeElement !== picture) return;
    event.preventDefault();
    zoom(event.deltaY < 0 ? 0.8 : 1.25, part(x(event)));
  }, { passive: false });
  let start = null;
  picture.addEventListener('pointerdown', (event) => {
    start = event.button === 0 && !event.target.closest('a') ? x(event) : null;
    if (start !== null) picture.setPointerCapture(event.pointerId);
  });
  picture.addEventListener('pointermove', (event) => {
    if (start === null) return;
    const [a, b] = [Math.min(start, x(event)), Math.max(start, x(event))];
    brush.setAttribute('x', a.toFixed(1));
    brush.setAttribute('width', (b - a).toFixed(1));
  });
  const release = (event) => {
    if (start === null) return;
    const [a, b] = [Math.min(start, x(event)), Math.max(start, x(event))];
    brush.setAttribute('width', '0');
    start = null;
    if (event.type === 'pointerup' && b - a > 6) show(part(a), part(b));
  };
  picture.addEventListener('pointerup', release);
  picture.addEventListener('pointercancel', release);
  picture.addEventListener('dragstart', (event) => event.preventDefault());
}
