// Uses the page as a reader does, and writes what became of it into an element.
(async () => {
  const later = () => new Promise((done) => setTimeout(done, 50));
  const result = {};
  const table = document.querySelector('table.calls');
  const sheet = table.closest('.sheet');
  const rows = () => Array.from(table.tBodies);
  const seen = () => rows().filter((row) => getComputedStyle(row).display !== 'none');
  const told = () => sheet.querySelector('.shown').textContent;
  const filter = (text) => {
    const box = sheet.querySelector('.filter');
    box.value = text;
    box.dispatchEvent(new Event('input'));
  };
  const doc = (row) => getComputedStyle(row.querySelector('.doc')).display;
  result.rows = seen().length;
  result.injected = document.scripts.length - 2
    + document.querySelectorAll('img, svg:not(.graph, .timeline)').length
    + (typeof owned === 'undefined' ? 0 : 1)
    + Array.from(document.querySelectorAll('*')).filter((one) => one.onmouseover || one.onload || one.onerror).length;
  result.title = document.title;

  if (result.rows === 126) {
    result.all = told();
    filter('GETOBJECT success exfiltration');
    result.filtered = seen().length;
    result.told = told();
    // Only the event has its uid.
    filter('e4dba0ca-b09e-40b9-a4c3-5d0fe0202313');
    result.filtered_by_document = seen().length;
    const row = seen()[0];
    filter('');
    result.cleared = seen().length;

    result.doc_before = doc(row);
    row.rows[0].cells[3].click();
    result.doc_after = doc(row);
    const event = JSON.parse(Array.from(row.querySelectorAll('pre')).pop().textContent);
    result.doc_says = event.api.operation;
    row.querySelector('td.open input').click();
    result.closed = doc(row);

    const mark = document.querySelector('.mark.bad');
    location.hash = mark.getAttribute('href');
    await later();
    result.opened_by_link = doc(document.querySelector(mark.getAttribute('href')));
    sheet.querySelector('.all').click();
    result.open_all = rows().filter((one) => doc(one) === 'table-row').length;
    sheet.querySelector('.all').click();

    const heads = table.tHead.rows[0].cells;
    const calls = () => rows().map((one) => one.rows[0].cells[3].textContent);
    const order = new Intl.Collator('en', { numeric: true }).compare;
    heads[3].querySelector('[role=button]').click();
    result.sorted = calls().every((one, at, all) => at === 0 || order(all[at - 1], one) <= 0);
    heads[3].querySelector('[role=button]').click();
    result.sorted_down = heads[3].getAttribute('aria-sort') === 'descending'
      && calls().every((one, at, all) => at === 0 || order(all[at - 1], one) >= 0);

    const place = () => document.querySelector('.mark').getAttribute('transform');
    const before = place();
    document.querySelector('[data-zoom=in]').click();
    result.zoomed = place() !== before;
    result.zoom_filters = told() === `${seen().length} of 126` && seen().length < 126;
    document.querySelector('[data-zoom=all]').click();
    result.zoom_all = told();
  }
  const out = document.createElement('pre');
  out.id = 'result';
  out.textContent = JSON.stringify(result);
  document.body.append(out);
})();
