"The table of results in the README, from benchmarks/README.md"
import re

def row(bench, start, after=''):
    "Cells of the first table row, behind the text `after`, that starts so; ['?', ...] if there is none"
    found = re.search(rf'^\| \**{re.escape(start)}.*$', bench[max(0, bench.find(after)):], re.M)
    return [o.strip(' *') for o in found[0].strip('|').split('|')] if found else ['?']*12

RACE = 'MovieLens 100K', 'Amazon CDs', 'World, 1,000,000'

def race(bench, model, part='chosen'): return [row(bench, f'{o} | {model} |', f'### Against implicit: {part}') for o in RACE]

def of(rows, k): return ' / '.join(o[k] for o in rows)

def lowest(bench, k):
    "The row of the peer with the lowest error in column `k` of the table of other sets"
    part = bench[bench.find('### Other sets'):].split('\n\n')[1]
    return min(([c.strip() for c in o.strip('|').split('|')] for o in re.findall(r'^\| (?:Cornac|Surprise).*$', part, re.M)), key=lambda o: float(o[k] or 9))

def first(cell): return cell.split(' ')[0]

def ratings(bench):
    mf, cornac, svd, bayes = (row(bench, o) for o in ('BiasedMF |', 'Cornac MF (k=50, 25 epochs, 1 thread)', 'Surprise SVD, searched |', 'BayesianMF |'))
    ours, stock, net, stock_net = (row(bench, o, '## (c)') for o in ('ours at the defaults', 'fastai `collab_learner`', 'our network', 'fastai network'))
    yield ('Rating error, MovieLens 100K, u1 to u5 (RMSE)', f'`BiasedMF` {mf[1]} in {mf[4]} s; `BayesianMF` {bayes[1]} in {bayes[4]} s',
           f'Cornac MF {cornac[1]} in {cornac[4]} s; Surprise SVD {svd[1]} in {svd[4]} s, both searched')
    yield ('Rating error, latest-small and FilmTrust (RMSE)', ', '.join(f'`{o}` {cells[1]} and {cells[3]}' for o in ('BiasedMF', 'BayesianMF') for cells in [row(bench, f'{o} |', '### Other sets')]),
           ' and '.join(f'{o[0].split(" (")[0]} {o[k]}' for k in (1, 3) for o in [lowest(bench, k)]))
    yield "fastai's `Learner`, dot product (mean squared error)", f'{ours[1]}, {ours[4]} times as fast', f'{stock[1]} (stock)'
    yield "fastai's `Learner`, network", f'{net[1]}, {net[4]} times as fast', f'{stock_net[1]} (stock)'

def lists(bench):
    als, lists, times = row(bench, 'ImplicitALS', '## (d)'), race(bench, 'ALS'), race(bench, 'ALS, conjugate gradients', 'seconds')
    best = max((row(bench, f'{o}, published', '## (d)') for o in ('BiVAE', 'BPR', 'SAR', 'LightGCN')), key=lambda o: o[3])
    yield ('Lists from implicit feedback, MovieLens 100K (nDCG at 10)', f'`ImplicitALS` {als[3]}', f'{best[3]} ({first(best[0])[:-1]}, the best of those published)')
    yield 'Lists by ALS, both libraries searched: MovieLens 100K, Amazon CDs, a world (nDCG at 10)', f'`ImplicitALS` {of(lists, 6)}', f'implicit {of(lists, 7)}'
    yield 'ALS at the same settings on these, one thread', f'{of(times, 3)} s', f'implicit {of(times, 4)} s'
    ann, exact, rival = row(bench, 'faiss | **', '## (e)'), *(row(bench, f'random: 30,000 users x 40,000 items, 100 seen each | {o}', '### Exact top-10') for o in ('top_k', 'implicit'))
    yield ('Ten nearest of 100,000 clustered vectors, one thread: recall, queries a second', f'`ANNIndex` {ann[2]} at {ann[3]}', f'exact search 1.000 at {ann[4]}')
    yield 'Exact lists for 30,000 users and 40,000 items', f'`top_k` {exact[2]} s, {exact[4]} MB', f'implicit {rival[2]} s, {rival[4]} MB'

def size(bench):
    ids, full, half = row(bench, 'any int64', '## (f)'), *(row(bench, f'10,000,000 made users | {o}', '## (f)') for o in ('full table', 'hashed at 1/10, one'))
    fun, world = row(bench, 'retrieval, two filters', '## (g)'), row(bench, 'World, 100,000', '## (g)')
    yield 'A million ids to buckets', f'`hash_bucket` {ids[2]} ms', f'a loop over mmh3 {ids[1]} ms'
    yield 'Ten million users x 64', f'hashed to a tenth: {half[2]} MB', f'full table: {full[2]} MB'
    yield ('A funnel over 100,000 items, one core', f'95 % of users within {fun[2]} ms; nDCG {world[3]}', f'its candidates in the order of retrieval: nDCG {world[2]}')

def other_data(bench):
    blend, graph, als, knn = (of([row(bench, f'{o} |', f'### Amazon {d}') for d in ('CDs', 'Toys', 'Sports')], 1) for o in ('Blend', 'ItemGraph', 'ImplicitALS', 'ItemKNN'))
    yield 'Lists on Amazon CDs, Toys and Sports (recall at 20)', f'`Blend` {blend}; `ItemGraph` {graph}', f'simple rivals: `ItemKNN` {knn}; `ImplicitALS` {als}'
    toys, sports = (row(bench, f'{o} | NextItem | with refit', '## (k)') for o in ('Toys', 'Sports'))
    yield ('What comes next, Amazon Toys and Sports (nDCG at 10)', f'`NextItem` {toys[4]} and {sports[4]}, with refit',
           ' and '.join(row(bench, f'{o} | S3-Rec', '## (k)')[4] for o in ('Toys', 'Sports')) + ' (S3-Rec, as published)')
    new = [row(bench, o, '## (l)') for o in ('MovieLens 100K', 'latest-small', 'Toys')]
    yield ('Items nobody has met: MovieLens 100K, latest-small, Toys (nDCG at 10)', '`Hybrid` ' + ' / '.join(first(o[5]) for o in new), 'content alone ' + ' / '.join(o[4] for o in new))
    ours, fastapi = (row(bench, f'ImplicitALS, MovieLens 100K | {o}', '## (s)') for o in ('this server', 'the same model in ten'))
    yield ('Requests per second over HTTP, two cores, p95 within 25 ms', f'`serve` {ours[2]} with each list logged', f'{fastapi[2]} the same model in FastAPI')

def losses(bench):
    bpr = race(bench, 'BPR, popularity added to implicit')[2]
    yield 'Lost: BPR on a world of a million events, both searched, popularity added to the scores of implicit: seconds, nDCG at 10', f'{bpr[4]}, {bpr[6]}', f'implicit {bpr[5]}, {bpr[7]}'
    ours, shuffled = (row(bench, o, 'MovieLens latest-small with the same settings') for o in ('ours at the defaults', 'the same with a loader'))
    yield "Lost: fastai's `Learner`, dot product, latest-small (mean squared error)", ours[1], f'{shuffled[1]} (stock, with a loader that shuffles)'
    yield "Lost: requests per second, implicit's ALS in FastAPI, bare ids, no log", *(row(bench, f'ImplicitALS, MovieLens 100K | {o}', '## (s)')[2] for o in ('this server', "implicit's ALS"))
    worst = {m: min((o for o in re.findall(r'^\|.*$', bench[bench.find('### nDCG at 10 of clicks'):bench.find('## (i)')], re.M) if f'| {m} |' in o), key=lambda o: float(o.split('|')[6])).split('|')
             for m in ('ImplicitALS', 'BPR')}
    yield ('Lost: lists by default settings against a search, on the worst of eight data sets (nDCG at 10)', *(', '.join(f'`{m}` {o[k].strip()} ({o[1].strip()})' for m,o in worst.items()) for k in (3, 4)))

def table(path):
    "Markdown: what, here, elsewhere; every figure stands in benchmarks/README.md"
    bench = path.read_text(encoding='utf-8')
    rows = [*ratings(bench), *lists(bench), *size(bench), *other_data(bench), *losses(bench)]
    return '\n'.join(['| | here | elsewhere |', '|---|---|---|', *('| ' + ' | '.join(o) + ' |' for o in rows)])
