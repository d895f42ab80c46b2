// Elements are made of text nodes and attributes only: nothing from the network is ever parsed as markup.

export function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== null && value !== undefined) made.setAttribute(name, value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

// Writes only what has changed: neither a selection nor a screen reader is disturbed by what stays the same.
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

// Makes `wanted` the children of `parent` and moves only what is out of place, so that focus and open details stay.
export function arrange(parent, wanted) {
  const keep = new Set(wanted);
  for (const child of [...parent.children]) if (!keep.has(child)) child.remove();
  let at = parent.firstElementChild;
  for (const child of wanted) {
    if (child === at) at = at.nextElementSibling;
    else parent.insertBefore(child, at);
  }
}
