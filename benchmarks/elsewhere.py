"""Libraries that need an environment of their own (LensKit, RecTools, RecBole), each fitted by its own Python, all lists judged by this library's code.

    OMP_NUM_THREADS=1 python benchmarks/elsewhere.py --lenskit ENV/bin/python --rectools ENV/bin/python --recbole ENV/bin/python

An environment: `python -m venv ENV` and `ENV/bin/pip install lenskit`, `rectools`, or `recbole==1.2.1 "numpy<2" "pandas<2.3" "scipy<1.12" "scikit-learn<1.5"`. A library whose Python is not
given is skipped. The folder of RECSYS_COURSE_DATA holds `ml-100k` and `filmtrust`; `--data` and `--only` name a data set or a model, and may be repeated. This script starts itself with the
other Pythons (`fit LIBRARY FOLDER`), which see train alone: test never leaves the process that judges."""
import argparse, itertools, json, os, random, subprocess, sys, tempfile, time, warnings
from importlib.metadata import version
from pathlib import Path

for o in ('OMP_NUM_THREADS', 'OPENBLAS_NUM_THREADS', 'NUMBA_NUM_THREADS', 'RAYON_NUM_THREADS', 'LK_NUM_THREADS', 'LK_NUM_BACKEND_THREADS', 'LK_NUM_PROCS'): os.environ.setdefault(o, '1')

import numpy as np, pandas as pd

K = 10

# What is searched: settings of each model, of which the defaults and five draws are tried
SPACES = {
    'ours': {'Popular': {}, 'ItemKNN(centre=False)': dict(k=[50, 100, 200, 300], shrink=[0, 20, 50, 100]), 'EASE': dict(reg=[50, 100, 200, 300, 500, 1000]),
             'ImplicitALS': dict(n_factors=[32, 64, 128], alpha=[2, 5, 10, 40], reg=[.05, .1, .2, .3])},
    'lenskit': {'Popular': {}, 'ItemKNN': dict(max_nbrs=[10, 50, 100, 200, 500]), 'ImplicitMF': dict(embedding_size=[32, 64, 128], weight=[2, 5, 10, 20], regularization=[5, 10, 20, 50])},
    'rectools': {'Popular': {}, 'ItemKNN': dict(kind=['Cosine', 'TFIDF', 'BM25'], K=[50, 100, 200, 300]), 'EASE': dict(regularization=[50, 100, 200, 300, 1000]),
                 'ALS of implicit': dict(factors=[32, 64, 128], alpha=[2, 3, 5, 10], regularization=[10, 30, 100, 200])},
    'recbole': {'Pop': {}, 'ItemKNN': dict(k=[50, 100, 200, 300], shrink=[0, 20, 50, 100]), 'EASE': dict(reg_weight=[50, 100, 200, 300, 500, 1000]),
                'BPR': dict(learning_rate=[.0005, .002, .005]), 'LightGCN': {}}}

def draws(space, n=6, seed=42):
    "The defaults, and n - 1 of the settings of `space`"
    grid = [dict(zip(space, o)) for o in itertools.product(*space.values())] if space else []
    return [{}, *random.Random(seed).sample(grid, min(n - 1, len(grid)))]

def clocked(f):
    "What `f` gives, and the CPU seconds of all threads"
    start = time.process_time()
    return f(), time.process_time() - start

# ---- In another environment: fit, and write lists

def top(scores, users, seen):
    "Lists of `K` items from scores, shape (users, items); seen: table of codes that are left out"
    place = np.full(max(users.max(), seen.user.max()) + 1, -1)
    place[users] = np.arange(len(users))
    scores[place[seen.user], seen.item] = -np.inf
    items = np.argsort(-scores, axis=1, kind='stable')[:, :K]
    return pd.DataFrame(dict(user=np.repeat(users, K), item=items.ravel(), rank=np.tile(np.arange(1, K + 1), len(users))))

def lenskit(name, train, folder, part, **kw):
    "(lists, CPU seconds of the fit, what else was found) of a model of LensKit"
    from lenskit.als import ImplicitMFScorer
    from lenskit.basic import PopScorer
    from lenskit.batch import recommend
    from lenskit.data import from_interactions_df
    from lenskit.knn import ItemKNNScorer
    from lenskit.pipeline import topn_pipeline
    from lenskit.training import TrainingOptions
    make = {'Popular': lambda: PopScorer(), 'ItemKNN': lambda: ItemKNNScorer(feedback='implicit', **kw), 'ImplicitMF': lambda: ImplicitMFScorer(**kw)}[name]
    data, pipe = from_interactions_df(train.rename(columns=dict(user='user_id', item='item_id'))), topn_pipeline(make(), n=K)
    _, took = clocked(lambda: pipe.train(data, TrainingOptions(rng=42)))
    lists = recommend(pipe, np.unique(train.user).tolist(), K, n_jobs=1).to_df()
    return lists.rename(columns=dict(user_id='user', item_id='item'))[['user', 'item', 'rank']], took, {}

def rectools(name, train, folder, part, **kw):
    "The same for a model of RecTools"
    from implicit.als import AlternatingLeastSquares
    from implicit.nearest_neighbours import BM25Recommender, CosineRecommender, TFIDFRecommender
    from rectools.dataset import Dataset
    from rectools.models import EASEModel, ImplicitALSWrapperModel, ImplicitItemKNNWrapperModel, PopularModel
    kinds = dict(Cosine=CosineRecommender, TFIDF=TFIDFRecommender, BM25=BM25Recommender)
    kind = kinds[kw.pop('kind', 'TFIDF')]
    make = {'Popular': lambda: PopularModel(), 'ItemKNN': lambda: ImplicitItemKNNWrapperModel(kind(num_threads=1, **kw)), 'EASE': lambda: EASEModel(recommend_use_gpu_ranking=False, **kw),
            'ALS of implicit': lambda: ImplicitALSWrapperModel(AlternatingLeastSquares(num_threads=1, random_state=42, use_gpu=False, **kw), recommend_use_gpu_ranking=False)}[name]
    data = Dataset.construct(train.rename(columns=dict(user='user_id', item='item_id')).assign(weight=1., datetime='2000-01-01'))
    model, took = clocked(lambda: make().fit(data))
    lists = model.recommend(np.unique(train.user), data, k=K, filter_viewed=True)
    return lists.rename(columns=dict(user_id='user', item_id='item'))[['user', 'item', 'rank']], took, {}

def recbole(name, train, folder, part, epochs=None, **kw):
    "The same for a model of RecBole: without `epochs` it stops early by the held-out tenth and keeps its best state, with them it trains for so many on all rows"
    import logging, torch
    from recbole.config import Config
    from recbole.data import create_dataset, data_preparation
    from recbole.data.interaction import Interaction
    from recbole.utils import get_model, get_trainer, init_seed
    home = Path(folder)/'set'
    home.mkdir(exist_ok=True)
    for n, rows in ((part, train), ('valid', pd.read_csv(Path(folder)/'valid.csv'))): rows.rename(columns=dict(user='user:token', item='item:token')).to_csv(home/f'set.{n}.inter', sep='\t', index=False)
    given = dict(data_path=str(folder), benchmark_filename=[part, 'valid', 'valid'], USER_ID_FIELD='user', ITEM_ID_FIELD='item', load_col=dict(inter=['user', 'item']), use_gpu=False,
                 checkpoint_dir=str(Path(folder)/'saved'), show_progress=False, state='WARNING', valid_metric='NDCG@10', metrics=['NDCG'], topk=[10], seed=42, reproducibility=True, train_neg_sample_args=dict(
                     distribution='uniform', sample_num=1, alpha=1., dynamic=False, candidate_num=0), eval_args=dict(order='RO', group_by='user', split=dict(RS=[.8, .1, .1]), mode='full'), **kw)
    given |= dict(epochs=epochs) if epochs else {}
    argv, sys.argv = sys.argv, sys.argv[:1]                       # RecBole reads the command line
    try: config = Config(model=name, dataset='set', config_dict=given)
    finally: sys.argv = argv
    logging.disable(logging.INFO)
    init_seed(config['seed'], True)
    data = create_dataset(config)
    trains, valids, _ = data_preparation(config, data)
    model, made = clocked(lambda: get_model(name)(config, trains.dataset))         # EASE and ItemKNN are fitted here
    trainer, scores = get_trainer(config['MODEL_TYPE'], name)(config, model), []
    if epochs: _, took = clocked(lambda: trainer.fit(trains, saved=False, show_progress=False))
    else:
        _, took = clocked(lambda: trainer.fit(trains, valids, saved=True, show_progress=False, callback_fn=lambda e, s: scores.append(s)))
        state = torch.load(trainer.saved_model_file, weights_only=False)
        model.load_state_dict(state['state_dict'])
        model.load_other_parameter(state.get('other_parameter'))
    users = np.unique(train.user)
    codes, items = data.token2id('user', users.astype(str)), data.field2id_token['item']
    model.eval()
    with torch.no_grad(): S = np.concatenate([np.asarray(model.full_sort_predict(Interaction(dict(user=torch.tensor(o)))).reshape(len(o), -1), dtype=np.float64) for o in np.array_split(codes, 1 + len(codes)//500)])
    full = np.full((len(users), int(train.item.max()) + 1 + len(items)), -np.inf)
    full[:, [int(o) for o in items[1:]]] = S[:, 1:]
    return top(full, users, train), made + took, dict(epochs=int(np.argmax(scores)) + 1) if scores else {}

LIBRARIES = dict(lenskit=lenskit, rectools=rectools, recbole=recbole)

def fit(library, folder):
    "Do the jobs that `folder` names, each {part, model, settings, out}; writes lists, and for each job the seconds and what else was found"
    warnings.simplefilter('ignore')
    folder, found, model_of = Path(folder), {}, LIBRARIES[library]
    for job in json.loads((folder/'jobs.json').read_text()):
        rows = pd.read_csv(folder/f"{job['part']}.csv")
        if library != 'recbole' and job['warm']: model_of(job['model'], rows[:2000].copy(), folder, job['part'], **job['settings'])      # compiled before the clock starts
        lists, took, more = model_of(job['model'], rows.copy(), folder, job['part'], **job['settings'])
        lists.to_csv(folder/f"{job['out']}.csv", index=False)
        found[job['out']] = dict(seconds=took, **more)
        print(library, job['part'], job['model'], job['settings'], f'{took:.2f} s', more, file=sys.stderr, flush=True)
    (folder/'found.json').write_text(json.dumps(dict(found=found, version=version(library))))

# ---- In ours: split, and judge

def data_sets():
    "{name: function that gives a log in which every row is a yes}"
    from recsys_course.datasets import load_file, load_movielens
    from recsys_course.implicit import to_implicit
    path = Path(os.environ.get('RECSYS_COURSE_DATA', '../shared/data'))
    return {'MovieLens 100K': lambda: to_implicit(load_movielens('100k', path=path)),
            'FilmTrust': lambda: to_implicit(load_file(path/'filmtrust/ratings.txt', columns='user,item,rating', duplicates='last'))}

def coded(log): return pd.DataFrame(dict(zip(('user', 'item'), log.codes())))

def our_lists(name, train, **kw):
    "Lists in codes of one of our models, and the CPU seconds of its fit"
    from recsys_course.implicit import EASE, ImplicitALS
    from recsys_course.recommender import ItemKNN, Popular
    make = {'Popular': Popular, 'ItemKNN(centre=False)': lambda **kw: ItemKNN(centre=False, **kw), 'EASE': EASE, 'ImplicitALS': lambda **kw: ImplicitALS(n_threads=1, **kw)}[name]
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        model, took = clocked(lambda: make(**kw).fit(train))
    users = np.unique(train.codes()[0])
    items = model.best_items(model.query(train.users.decode(users)), K)[0]
    return pd.DataFrame(dict(user=np.repeat(users, K), item=items.ravel(), rank=np.tile(np.arange(1, K + 1), len(users)))), took

def judged(lists, train, test):
    "nDCG and recall at `K` of each user with rows in train and test"
    from recsys_course.evaluate import ranking_metrics
    lists = lists[lists.item > 0]
    raw = lists.assign(user=train.users.decode(lists.user.to_numpy()), item=train.items.decode(lists.item.to_numpy()))
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        return ranking_metrics(raw, test, train, k=K, metrics=('ndcg', 'recall'), relevant=0, per_user=True)[[f'ndcg@{K}', f'recall@{K}']]

def interval(x, digits=3, sign='', seed=0):
    "Mean over users with its 95 % interval"
    x = np.asarray(x, float)
    boot = x[np.random.default_rng(seed).integers(len(x), size=(1000, len(x)))].mean(1)
    return '{:{f}} ({:{f}} to {:{f}})'.format(x.mean(), *np.quantile(boot, [.025, .975]), f=f'{sign}.{digits}f')

def elsewhere(library, python, folder, jobs):
    "{out: (lists, what was found)} of jobs that another Python does, and the version of its library"
    (folder/'jobs.json').write_text(json.dumps(jobs))
    env = {k: v for k, v in os.environ.items() if k != 'PYTHONPATH'}
    subprocess.run([python, Path(__file__).resolve(), 'fit', library, folder], env={**env, 'CUDA_VISIBLE_DEVICES': ''}, cwd=folder, stdout=sys.stderr, check=True)
    res = json.loads((folder/'found.json').read_text())
    return {o: (pd.read_csv(folder/f'{o}.csv'), f) for o, f in res['found'].items()}, res['version']

def searched(library, python, parts, folder, only):
    "{model: (lists by default, seconds, lists of the chosen settings, seconds, settings, nDCG by default on the held-out tenth)} of a library, and its version"
    fit_part, valid, train = parts
    def done(part, todo):
        if library == 'ours': return {o: (*our_lists(m, dict(fit=fit_part, train=train)[part], **s),) for o, m, s in todo}, version('recsys_course')
        warmed = set()
        jobs = [dict(part=part, model=m, settings=s, out=o, warm=not (m in warmed or warmed.add(m))) for o, m, s in todo]
        return elsewhere(library, python, folder, jobs)
    space = {m: o for m, o in SPACES[library].items() if only(m)}
    tries = {f'{m}-{j}'.replace(' ', '_'): (m, s) for m, o in space.items() for j, s in enumerate(draws(o))}
    lists, ver = done('fit', [(o, m, s) for o, (m, s) in tries.items()])
    value = {o: judged(lists[o][0], fit_part, valid)[f'ndcg@{K}'].mean() for o in tries}
    again = lambda o: {**tries[o][1], **({k: v for k, v in lists[o][1].items() if k == 'epochs'} if library != 'ours' else {})}     # as many epochs as were best
    best = {m: max((o for o in tries if tries[o][0] == m), key=value.get) for m in space}
    first = {m: next(o for o in tries if tries[o][0] == m) for m in space}
    final, _ = done('train', [(o, tries[o][0], again(o)) for o in dict.fromkeys([*first.values(), *best.values()])])
    took = lambda o: final[o][1] if library == 'ours' else final[o][1]['seconds']
    return {m: (final[first[m]][0], took(first[m]), final[best[m]][0], took(best[m]), again(best[m]), value[first[m]]) for m in space}, ver

def measured(name, log, pythons, named=()):
    "Rows of the table of a data set, what is said below, and the versions"
    train, test = log.split('user_random', .25, seed=42)
    fit_part, valid = train.split('user_random', .1, seed=1)
    our_lists('ImplicitALS', train.take(np.arange(len(train)) < 2000)); our_lists('ItemKNN(centre=False)', train.take(np.arange(len(train)) < 2000))      # compiled before the clock starts
    res, versions, only = {}, {}, lambda m: not named or m in named
    with tempfile.TemporaryDirectory() as tmp:
        for part, rows in dict(fit=fit_part, valid=valid, train=train).items(): coded(rows).to_csv(Path(tmp)/f'{part}.csv', index=False)
        for library in SPACES:
            if library != 'ours' and not pythons.get(library): continue
            found, versions[library] = searched(library, pythons.get(library), (fit_part, valid, train), Path(tmp), only)
            res |= {(library, m): o for m, o in found.items()}
    base = max((o for o in res if o[0] == 'ours'), key=lambda o: res[o][5])
    ref, rows = judged(res[base][0], train, test), []
    for (library, m), (lists, s, best_lists, best_s, settings, _) in res.items():
        plain, best = judged(lists, train, test), judged(best_lists, train, test)
        said = ', '.join(f'{k}={v}' for k, v in settings.items() if (k, v) != ('epochs', 1)) or 'the defaults'
        rows.append([library, m, f'{plain.iloc[:, 0].mean():.3f}', said, interval(best.iloc[:, 0]), interval(best.iloc[:, 1]), interval(best.iloc[:, 0] - ref.iloc[:, 0], 3, '+'), f'{s:.2f} / {best_s:.2f}'])
        print(name, *rows[-1], sep=' | ', file=sys.stderr, flush=True)
    return rows, base[1], versions

HEAD = ['library', 'model', 'nDCG by default', 'chosen', 'nDCG, chosen (95 %)', 'recall, chosen (95 %)', 'nDCG, chosen, less {base} by default (95 %)', 'CPU s of the fit, default / chosen']

def main(pythons, data=(), only=()):
    "Print the tables and return them as markdown"
    lines, versions = [], {}
    for name, make in data_sets().items():
        if data and name not in data: continue
        rows, base, versions = measured(name, make(), pythons, only)
        lines += [f'### {name}', '', *table([o.format(base=base) for o in HEAD], rows)]
    lines = [f"Versions: {', '.join(f'{k} {v}' for k, v in versions.items() if k != 'ours')}.", '', *lines]
    lines += [f'{o} is skipped: no Python of an environment that has it was given.' for o in LIBRARIES if not pythons.get(o)]
    text = '\n'.join(lines)
    print(text)
    return text

if __name__ == '__main__':
    if sys.argv[1:2] == ['fit']: fit(*sys.argv[2:])
    else:
        from measure import table
        p = argparse.ArgumentParser()
        for o in LIBRARIES: p.add_argument(f'--{o}')
        p.add_argument('--data', action='append', default=[]); p.add_argument('--only', action='append', default=[])
        args = vars(p.parse_args())
        main({o: args[o] for o in LIBRARIES}, args['data'], args['only'])
