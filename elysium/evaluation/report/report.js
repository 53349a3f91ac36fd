// Makes the page's charts answer: values where one points, lines switched by the legend, zoom. The page shows
// everything without it, and it asks nothing of any network.
"use strict";
(() => {
  const SVG = "http://www.w3.org/2000/svg";
  const tip = document.createElement("div");
  tip.id = "tip";
  tip.hidden = true;
  tip.setAttribute("role", "status");
  document.body.append(tip);

  const make = (name, attributes, parent) => {
    const element = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    if (parent) parent.append(element);
    return element;
  };
  const shown = (value) => (Math.abs(value) >= 1000 ? value.toLocaleString("en", { maximumFractionDigits: 0 }) : String(+value.toPrecision(4)));

  function tell(title, lines, x, y) {
    const head = document.createElement("b");
    head.textContent = title;
    tip.replaceChildren(head);
    for (const [style, name, value] of lines) {
      const row = document.createElement("div");
      for (const [tag, text] of [["i", ""], ["span", name], ["em", value]]) {
        const part = document.createElement(tag);
        part.textContent = text;
        if (tag === "i") part.className = style;
        row.append(part);
      }
      tip.append(row);
    }
    tip.hidden = false;
    const { width, height } = tip.getBoundingClientRect();
    const left = x + 16 + width > innerWidth ? x - width - 16 : x + 16;
    tip.style.left = `${Math.max(4, Math.min(left, innerWidth - width - 4))}px`;
    tip.style.top = `${Math.max(4, Math.min(y + 14, innerHeight - height - 4))}px`;
  }
  const hush = () => { tip.hidden = true; };

  function ticks(low, high) {
    let step = 10 ** Math.floor(Math.log10((high - low) / 4));
    step *= [1, 2, 5, 10].find((factor) => (high - low) / (step * factor) <= 6) || 20;
    const found = [];
    for (let n = Math.ceil(low / step - 1e-9); n * step <= high + step * 1e-9; n++) found.push(+(n * step).toPrecision(12));
    return found;
  }

  class Chart {
    constructor(figure) {
      Object.assign(this, JSON.parse(figure.querySelector("script").textContent));
      this.figure = figure;
      this.svg = figure.querySelector("svg");
      this.area = figure.querySelector("svg.plot");
      this.lines = figure.dataset.kind === "line";
      this.whole = { x: this.x, y: this.y };
      for (const entry of this.series) {
        entry.element = [...this.area.children].find((child) => child.dataset.series === entry.key);
        entry.style = entry.element.classList[1];
      }
      this.cursor = make("g", {}, this.area);
      this.at = null;
      this.svg.tabIndex = 0;
      this.svg.setAttribute("aria-roledescription", "chart: arrow keys read values, plus and minus zoom, 0 shows all");
      this.tools();
      this.listen();
    }

    get visible() { return this.series.filter((entry) => !entry.element.classList.contains("off")); }
    px(value) { return ((value - this.x[0]) / (this.x[1] - this.x[0])) * this.plot[2]; }
    py(value) { return this.plot[3] - ((value - this.y[0]) / (this.y[1] - this.y[0])) * this.plot[3]; }

    /** Returns the place of a pointer inside of the axes, in the chart's units. */
    where(event) {
      const point = new DOMPoint(event.clientX, event.clientY).matrixTransform(this.svg.getScreenCTM().inverse());
      return [point.x - this.plot[0], point.y - this.plot[1]];
    }

    tools() {
      const bar = document.createElement("div");
      bar.className = "tools";
      for (const [text, name, act] of [["+", "Zoom in", () => this.zoom(0.6)], ["−", "Zoom out", () => this.zoom(1 / 0.6)], ["All", "Show all", () => this.show(this.whole.x, this.whole.y)]]) {
        const button = document.createElement("button");
        Object.assign(button, { type: "button", textContent: text, title: name });
        button.setAttribute("aria-label", name);
        button.addEventListener("click", act);
        bar.append(button);
      }
      this.figure.append(bar);
    }

    listen() {
      let from = null;
      let frame = null;
      this.svg.addEventListener("pointerdown", (event) => {
        if (event.pointerType === "touch" || event.button) return;
        from = this.where(event);
        frame = make("rect", { class: "chosen" }, this.area);
        this.svg.setPointerCapture(event.pointerId);
      });
      this.svg.addEventListener("pointermove", (event) => {
        const to = this.where(event);
        if (from) {
          const [x, y] = [Math.min(from[0], to[0]), Math.min(from[1], to[1])];
          for (const [key, value] of Object.entries({ x, y, width: Math.abs(to[0] - from[0]), height: Math.abs(to[1] - from[1]) })) frame.setAttribute(key, value);
        }
        this.point(to, event.clientX, event.clientY);
      });
      const drop = (event) => {
        if (!from) return;
        const to = this.where(event);
        const start = from;
        from = null;
        frame.remove();
        if (event.type === "pointerup" && Math.abs(to[0] - start[0]) > 8 && Math.abs(to[1] - start[1]) > 8) this.select(start, to);
      };
      this.svg.addEventListener("pointerup", drop);
      this.svg.addEventListener("pointercancel", drop);
      this.svg.addEventListener("pointerleave", () => { if (!from) this.leave(); });
      this.svg.addEventListener("blur", () => this.leave());
      this.svg.addEventListener("dblclick", () => this.show(this.whole.x, this.whole.y));
      this.svg.addEventListener("keydown", (event) => {
        const act = { ArrowRight: () => this.step(1), ArrowLeft: () => this.step(-1), "+": () => this.zoom(0.6), "=": () => this.zoom(0.6), "-": () => this.zoom(1 / 0.6), 0: () => this.show(this.whole.x, this.whole.y), Escape: () => this.leave() }[event.key];
        if (act) { event.preventDefault(); act(); }
      });
    }

    leave() { hush(); this.at = null; this.cursor.replaceChildren(); }

    /** Tells what is nearest to a place inside of the axes. */
    point([x, y], clientX, clientY) {
      const open = this.visible;
      if (!open.length) return this.leave();
      let best = null;
      for (const entry of open) {
        entry.x.forEach((value, index) => {
          const [dx, dy] = [this.px(value) - x, this.lines ? 0 : this.py(entry.y[index]) - y];
          const far = dx * dx + dy * dy;
          if (!best || far < best.far) best = { far, entry, index };
        });
      }
      if (!this.lines && best.far > 900) return this.leave();
      this.at = best;
      this.mark(clientX, clientY);
    }

    /** Goes to the next point to the right or left, for those who use the keyboard. */
    step(by) {
      const open = this.visible;
      if (!open.length) return;
      const points = (this.lines ? open.slice(0, 1) : open).flatMap((entry) => entry.x.map((value, index) => ({ entry, index, value })));
      points.sort((a, b) => a.value - b.value);
      const now = this.at ? points.findIndex((p) => p.entry === this.at.entry && p.index === this.at.index) : -1;
      this.at = points[Math.max(0, Math.min(points.length - 1, now < 0 ? (by > 0 ? 0 : points.length - 1) : now + by))];
      const place = this.svg.getBoundingClientRect();
      const scale = place.width / this.svg.viewBox.baseVal.width;
      const { entry, index } = this.at;
      this.mark(place.left + (this.plot[0] + this.px(entry.x[index])) * scale, place.top + (this.plot[1] + this.py(entry.y[index])) * scale);
    }

    mark(clientX, clientY) {
      const { entry, index } = this.at;
      const value = entry.x[index];
      this.cursor.replaceChildren();
      if (this.lines) {
        make("line", { class: "cursor", x1: this.px(value), x2: this.px(value), y1: 0, y2: this.plot[3] }, this.cursor);
        const found = this.visible.map((one) => [one, one.y[one.x.indexOf(value)]]).filter(([, y]) => y !== undefined);
        found.sort((a, b) => b[1] - a[1]);
        tell(`${this.labels[0]}: ${shown(value)}`, found.map(([one, y]) => [one.style, one.name, shown(y)]), clientX, clientY);
      } else {
        make("circle", { class: "near", cx: this.px(value), cy: this.py(entry.y[index]), r: 6.5 }, this.cursor);
        tell(entry.labels ? entry.labels[index] : "", [["", this.labels[0], shown(value)], [entry.style, entry.name, shown(entry.y[index])]], clientX, clientY);
      }
    }

    select(from, to) {
      const value = (range, share) => range[0] + share * (range[1] - range[0]);
      const xs = [from[0], to[0]].map((place) => value(this.x, place / this.plot[2])).sort((a, b) => a - b);
      const ys = [from[1], to[1]].map((place) => value(this.y, 1 - place / this.plot[3])).sort((a, b) => a - b);
      this.show(xs, ys);
    }

    zoom(factor) {
      const around = this.at ? [this.at.entry.x[this.at.index], this.at.entry.y[this.at.index]] : [(this.x[0] + this.x[1]) / 2, (this.y[0] + this.y[1]) / 2];
      const near = (range, middle) => range.map((end) => middle + (end - middle) * factor);
      this.show(near(this.x, around[0]), near(this.y, around[1]));
    }

    /** Draws a range of both axes, no more than there is. */
    show(x, y) {
      const within = (range, whole) => {
        const found = [Math.max(range[0], whole[0]), Math.min(range[1], whole[1])];
        return found[1] - found[0] > (whole[1] - whole[0]) / 500 ? found : null;
      };
      const [xs, ys] = [within(x, this.whole.x), within(y, this.whole.y)];
      if (!xs || !ys) return;
      [this.x, this.y] = [xs, ys];
      this.figure.classList.toggle("zoomed", xs[0] !== this.whole.x[0] || xs[1] !== this.whole.x[1] || ys[0] !== this.whole.y[0] || ys[1] !== this.whole.y[1]);
      this.leave();
      for (const { element, x: xs, y: ys } of this.series) {
        const places = xs.map((value, index) => `${this.px(value).toFixed(1)} ${this.py(ys[index]).toFixed(1)}`);
        if (this.lines && places.length === 1) places.push(places[0]);
        if (this.lines) element.setAttribute("points", places.join(" "));
        else element.setAttribute("d", places.map((place) => `M${place}${element.dataset.shape}`).join(""));
      }
      const equal = this.area.querySelector(".equal");
      if (equal) {
        const [a, b] = [this.whole.x[0], this.whole.x[1]];
        for (const [key, v] of Object.entries({ x1: this.px(a), y1: this.py(a), x2: this.px(b), y2: this.py(b) })) equal.setAttribute(key, v);
      }
      this.axes();
    }

    axes() {
      const [left, top, width, height] = this.plot;
      const group = this.svg.querySelector(".axes");
      group.replaceChildren();
      for (const tick of ticks(...this.y)) {
        const y = top + this.py(tick);
        make("line", { class: "grid", x1: left, x2: left + width, y1: y, y2: y }, group);
        make("text", { class: "tick", "text-anchor": "end", x: left - 6, y: y + 4 }, group).textContent = shown(tick);
      }
      for (const tick of ticks(...this.x)) {
        make("text", { class: "tick", "text-anchor": "middle", x: left + this.px(tick), y: top + height + 16 }, group).textContent = shown(tick);
      }
    }
  }

  /** Fits the axis of rows of intervals to those that are switched on. */
  function refit(rows) {
    const open = [...rows.querySelectorAll(".lane > span:not(.off)")];
    if (!open.length) return;
    const values = open.flatMap((mark) => ["--v", "--l", "--h"].map((name) => +mark.style.getPropertyValue(name)));
    const pad = Math.max((Math.max(...values) - Math.min(...values)) * 0.04, 0.5);
    const low = Math.min(...values) >= 0 && Math.min(...values) < pad ? 0 : Math.min(...values) - pad;
    const high = Math.max(...values) + pad;
    rows.style.setProperty("--lo", low);
    rows.style.setProperty("--hi", high);
    rows.querySelector(".ticks").replaceChildren(...ticks(low, high).map((tick) => {
      const line = document.createElement("i");
      line.style.setProperty("--v", tick);
      line.append(document.createElement("b"));
      line.firstChild.textContent = shown(tick);
      return line;
    }));
  }

  document.querySelectorAll(".chart").forEach((figure) => new Chart(figure));

  document.querySelectorAll(".group").forEach((group) => {
    group.querySelectorAll(".legend .key").forEach((key) => {
      const button = document.createElement("button");
      button.type = "button";
      button.className = key.className;
      button.title = `${key.title}: show or hide`;
      button.append(...key.childNodes);
      const flip = () => {
        const off = button.classList.toggle("off");
        button.setAttribute("aria-pressed", String(!off));
        group.querySelectorAll("[data-series]").forEach((mark) => { if (mark.dataset.series === key.dataset.series) mark.classList.toggle("off", off); });
        group.querySelectorAll(".rows").forEach(refit);
      };
      button.setAttribute("aria-pressed", String(!key.classList.contains("off")));
      button.addEventListener("click", flip);
      key.replaceWith(button);
    });
  });

  document.querySelectorAll(".lane > span").forEach((mark) => {
    const title = mark.title;
    mark.removeAttribute("title");
    mark.addEventListener("pointermove", (event) => tell(mark.closest(".row").querySelector(".name").firstChild.textContent.trim(), [[mark.classList[0], title, ""]], event.clientX, event.clientY));
    mark.addEventListener("pointerleave", hush);
  });
  addEventListener("scroll", hush, { passive: true });

  // MLflow shows the page in a frame in which such links lead nowhere by themselves.
  document.querySelectorAll('a[href^="#"]').forEach((link) => link.addEventListener("click", (event) => {
    event.preventDefault();
    const place = document.getElementById(link.getAttribute("href").slice(1));
    place.tabIndex = -1;
    place.scrollIntoView();
    place.focus({ preventScroll: true });
  }));

  // Moving pictures can be stopped; they stand still from the start where the reader's system asks for that.
  document.querySelectorAll(".clips").forEach((clips) => {
    const images = [...clips.querySelectorAll(".moving img")];
    if (!images.length) return;
    const button = document.createElement("button");
    let still = false;
    const flip = () => {
      still = !still;
      button.textContent = still ? "Play the clips" : "Stop the clips";
      for (const image of images) {
        if (!still) { image.parentElement.querySelector("canvas")?.remove(); continue; }
        const canvas = document.createElement("canvas");
        [canvas.width, canvas.height] = [image.naturalWidth, image.naturalHeight];
        canvas.setAttribute("aria-hidden", "true");
        canvas.getContext("2d").drawImage(image, 0, 0);
        image.after(canvas);
      }
    };
    Object.assign(button, { type: "button", className: "play", textContent: "Stop the clips" });
    button.addEventListener("click", flip);
    clips.before(button);
    if (matchMedia("(prefers-reduced-motion: reduce)").matches) {
      Promise.all(images.map((image) => image.decode().catch(() => null))).then(flip);
    }
  });
})();
