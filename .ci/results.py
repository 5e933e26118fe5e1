"The table of results in the README, from benchmarks/README.md"
import re

def row(bench, start, after=''):
    "Cells of the first table row, behind the text `after`, that starts so; ['?', ...] if there is none"
    found = re.search(rf'^\| \**{re.escape(start)}.*$', bench[max(0, bench.find(after)):], re.M)
    return [o.strip(' *') for o in found[0].strip('|').split('|')] if found else ['?']*12

def first(cell): return cell.split(' ')[0]

def ratings(bench):
    mf, cornac, svd, bayes = (row(bench, o) for o in ('BiasedMF |', 'Cornac MF (k=50, 25 epochs, 1 thread)', 'Surprise SVD |', 'BayesianMF |'))
    ours, stock, net, stock_net = (row(bench, o, '## (c)') for o in ('ours at the defaults', 'fastai `collab_learner`', 'our network', 'fastai network'))
    yield ('Rating error, MovieLens 100K, u1 to u5 (RMSE)', f'`BiasedMF` {mf[1]} in {first(mf[3])} s; `BayesianMF` {bayes[1]} in {first(bayes[3])} s',
           f'Cornac MF {cornac[1]} in {first(cornac[3])} s; Surprise SVD {svd[1]} in {first(svd[3])} s')
    yield "fastai's `Learner`, dot product (mean squared error)", f'{ours[1]}, {ours[4]} times as fast', f'{stock[1]} (stock)'
    yield "fastai's `Learner`, network", f'{net[1]}, {net[4]} times as fast', f'{stock_net[1]} (stock)'

def lists(bench):
    als, bivae, race = row(bench, 'ImplicitALS', '## (d)'), row(bench, 'BiVAE', '## (d)'), row(bench, 'ALS, conjugate gradients', 'Against implicit')
    yield ('Lists from implicit feedback, MovieLens 100K (nDCG at 10)', f'`ImplicitALS` {als[3]}', f'{bivae[3]} (BiVAE, the best published for this protocol)')
    yield ('ALS on a million interactions, one thread', f'{first(race[4])} s, nDCG {race[7]}', f'implicit {first(race[5])} s, nDCG {race[8]}')
    ann, exact, rival = row(bench, 'faiss | **', '## (e)'), row(bench, 'top_k', '### Exact top-10'), row(bench, 'implicit', '### Exact top-10')
    yield ('Ten nearest of 100,000 clustered vectors, one thread: recall, queries a second', f'`ANNIndex` {ann[2]} at {ann[3]}', f'exact search 1.000 at {ann[4]}')
    yield 'Exact lists for 30,000 users and 40,000 items', f'`top_k` {exact[1]} s, {exact[3]} MB', f'implicit {rival[1]} s, {rival[3]} MB'

def size(bench):
    ids, full, half = row(bench, 'any int64', '## (f)'), row(bench, 'full table', '## (f)'), row(bench, 'hashed at 1/10, one', '## (f)')
    fun, world = row(bench, 'retrieval, two filters', '## (g)'), row(bench, 'World, 100,000', '## (g)')
    yield 'A million ids to buckets', f'`hash_bucket` {ids[2]} ms', f'a loop over mmh3 {ids[1]} ms'
    yield 'Ten million users x 64', f'hashed to a tenth: {half[1]} GB', f'full table: {full[1]} GB'
    yield ('A funnel over 100,000 items, one core', f'95 % of users within {fun[2]} ms; nDCG {world[3]}', f'its candidates in the order of retrieval: nDCG {world[2]}')

def table(path):
    "Markdown: what, here, elsewhere; every figure stands in benchmarks/README.md"
    bench = path.read_text(encoding='utf-8')
    rows = [*ratings(bench), *lists(bench), *size(bench)]
    return '\n'.join(['| | here | elsewhere |', '|---|---|---|', *('| ' + ' | '.join(o) + ' |' for o in rows)])
