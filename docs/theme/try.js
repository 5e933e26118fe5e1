// The recommender of the home page: a list is a sum of rows of item-item weights, as in EASE
(() => {
  const box = document.getElementById('try')
  if (!box) return
  const data = JSON.parse(box.querySelector('script').textContent), n = data.titles.length
  const W = new Int8Array(Uint8Array.from(atob(data.weights), c => c.charCodeAt(0)).buffer)
  const liked = new Set(), [list, map] = [box.querySelector('ol'), box.querySelector('svg')]
  const make = (tag, to, attrs = {}, text = '') => {
    const o = ['circle', 'text', 'title', 'path'].includes(tag) ? document.createElementNS('http://www.w3.org/2000/svg', tag) : document.createElement(tag)
    for (const [k, v] of Object.entries(attrs)) o.setAttribute(k, v)
    o.textContent = text
    return to.appendChild(o)
  }

  // The k items with the largest sums, ties by code, and for each the liked item that says most for it
  const recommend = likes => {
    const sums = new Float64Array(n)
    for (const i of likes) for (let j = 1; j < n; j++) sums[j] += W[i*n + j]
    const rest = [...sums.keys()].filter(j => j && !likes.includes(j))
    const best = rest.sort((a, b) => sums[b] - sums[a] || a - b).slice(0, data.k)
    return best.map(j => ({item: j, score: sums[j], because: likes.reduce((a, b) => W[b*n + j] > W[a*n + j] ? b : a)}))
  }
  window.tryRecommend = recommend

  for (const [i, [x, y]] of data.places.entries()) {
    if (!i) continue
    const dot = make('circle', map, {cx: x, cy: y, r: .018, class: 'try-film', 'data-item': i})
    make('title', dot, {}, data.titles[i])
  }
  const you = make('circle', map, {cx: 0, cy: 0, r: .05, class: 'try-you'})
  const name = make('text', map, {x: 0, y: -.08, 'text-anchor': 'middle', class: 'try-name'}, 'you')

  const show = () => {
    const likes = [...liked], found = likes.length ? recommend(likes) : []
    list.replaceChildren()
    if (!likes.length) make('li', list, {class: 'try-none'}, 'Nothing yet: a list appears with your first click.')
    for (const {item, because} of found) {
      const row = make('li', list)
      make('b', row, {}, data.titles[item])
      make('span', row, {}, ` because you like ${data.titles[because]}`)
    }
    const mean = c => likes.length ? likes.reduce((s, i) => s + data.places[i][c], 0)/likes.length : 0
    const [x, y] = [mean(0), mean(1)]
    you.setAttribute('cx', x); you.setAttribute('cy', y)
    name.setAttribute('x', x); name.setAttribute('y', y - .08)
    const listed = new Set(found.map(o => o.item))
    for (const dot of map.querySelectorAll('.try-film')) {
      const i = +dot.dataset.item
      dot.classList.toggle('try-liked', liked.has(i))
      dot.classList.toggle('try-listed', listed.has(i))
    }
  }

  for (const i of data.cards) {
    const card = make('button', box.querySelector('.try-cards'), {type: 'button', 'aria-pressed': 'false', 'data-item': i})
    make('b', card, {}, data.titles[i])
    make('span', card, {}, data.kinds[i])
    card.addEventListener('click', () => {
      liked.has(i) ? liked.delete(i) : liked.add(i)
      card.setAttribute('aria-pressed', liked.has(i))
      show()
    })
  }
  show()
})()

// The search takes "-policy" in "off-policy" for "not policy", and knows no "off", which is too common: ask for the words, without it
const post = Worker.prototype.postMessage
Worker.prototype.postMessage = function (message, ...rest) {
  const words = text => text.replace(/\boff[- ](?=\w)/gi, '').replace(/(\w)-(?=\w)/g, '$1 ')
  return post.call(this, typeof message?.data === 'string' ? { ...message, data: words(message.data) } : message, ...rest)
}
