"Lessons and models, listed from the notebooks by `make export`: not to be edited"

# (name, minutes, title, task, needs, gives) of each notebook
LESSONS = [
    ('00_overview', 79, 'What a recommender is, and what it does to us', 'See the whole field on five people and five films: four ways to choose, the funnel, the loop, what goes wrong, and which lesson answers what.', [], []),
    ('01_data', 75, 'Ratings are data about people', 'Turn any table of ratings into one safe object, look at it, and split it without fooling yourself.', [], ['Vocab', 'Interactions']),
    ('02_simulate', 86, 'A world whose truth is known', 'Build a small world that makes ratings, so that you can measure what no real data set will ever show.', ['01_data'], ['World']),
    ('03_recommender', 85, 'One contract for every recommender', 'Give any model `recommend`, `similar_items`, `save` and `load` by writing one method, and prove that it keeps its promises.', ['01_data'], ['Linear', 'Recommender', 'User', 'SigmoidLink', 'Query', 'Popular', 'Bias', 'PoorModelWarning', 'ItemKNN']),
    ('04_evaluate', 146, 'What does "better" mean?', 'Measure predictions and lists so that a number means something: how good, how sure, for whom, and compared with what.', ['01_data', '03_recommender'], ['Ratio', 'draw_weights', 'bootstrap', 'interval', 'Past', 'Figures', 'rating_metrics', 'Lists', 'Spread', 'list_codes', 'Judge', 'ranking_metrics', 'Trial', 'Comparison', 'compare', 'cross_validate', 'Tuned']),
    ('10_embeddings', 72, 'Vectors for things that are only names', 'Turn any id into a handful of learned numbers, know what these numbers can and cannot mean, and see that nothing mysterious happens inside `nn.Embedding`.', ['03_recommender'], []),
    ('11_factorize', 126, 'Matrix factorisation, three ways', 'Build the classic rating predictor by hand, make it fast, and know which of the three ways to train it suits your data.', ['03_recommender', '10_embeddings'], ['STARS', 'GroupedRatings', 'BiasedFactors', 'FullBatchMF', 'BiasedMF', 'ALS']),
    ('13_models', 104, 'Recommenders as PyTorch modules', 'Write a matrix factorisation as a PyTorch model, train it with a loop of your own, and recognise the slips that make such models fail quietly.', ['10_embeddings'], ['Network', 'torch_threads', 'DotProduct', 'start_from', 'DotProductBias']),
    ('14_neural', 96, 'Neural networks that recommend', 'Build recommenders out of embeddings and linear layers, train them with care, and find out on your own data whether they beat a dot product.', ['13_models'], ['get_emb_sz', 'EmbeddingNN', 'RecommenderNet', 'WideDeep']),
    ('15_learner', 94, "fastai's Learner, and a faster way through it", "Train a recommender with fastai's `Learner` many times faster than the stock way, check what your loader feeds it, and turn the result into something that answers, saves and loads.", ['13_models', '14_neural'], ['collab_dls', 'collab_learner', 'LearnerRecommender']),
    ('16_interpret', 118, 'Looking inside a model', 'Ask a fitted model what it has learned of every item, draw the answer, and tell a finding from an accident.', ['03_recommender', '11_factorize'], ['top_bias', 'embedding_pca', 'search_items', 'search_widget', 'show_items', 'interpret_report']),
    ('20_implicit', 142, 'Clicks instead of stars', 'Learn from what people did when nobody asked what they think, with three models that are hard to beat: `BPR`, `ImplicitALS` and `EASE`.', ['03_recommender', '04_evaluate'], ['FactorModel', 'BPR', 'TripleLog', 'ImplicitALS', 'EASE', 'Heaps', 'FreeItems']),
    ('21_retrieve', 155, 'Finding neighbours among millions', 'Find the items most like an item, or best for a user, exactly where that is quick and approximately where it is not, and know how much you lose.', ['03_recommender', '11_factorize'], ['similarity', 'top_k', 'Backend', 'FaissGraph', 'USearchGraph', 'HNSWLibGraph', 'AnnoyForest', 'ANNIndex', 'Nearest']),
    ('31_bootstrap', 146, 'Newcomers: people and items nobody has rated', 'Recommend for somebody you know nothing, little or something about, with the error of every remedy measured.', ['03_recommender', '04_evaluate', '11_factorize'], ['n_raters', 'with_average', 'posterior', 'why_no_stars', 'mean_ratings', 'UserPrior', 'Questionnaire', 'by_tree', 'Demography', 'demographic_user', 'with_item_features', 'Famous', 'ColdStart']),
    ('40_candidates', 39, 'What retrieval misses is lost', 'Fetch a few hundred candidates for anybody out of any catalogue, from several models at once, and know what they miss.', ['20_implicit', '21_retrieve'], ['merge_candidates', 'SharedOrder', 'SimilarToRecent', 'NewArrivals', 'FunctionGenerator']),
    ('41_towers', 36, 'Two towers', 'Train a generator that knows what people and films *are*, from batches that hold their own negatives, and see why popularity must be taken out of them.', ['13_models', '40_candidates'], ['GapCounter', 'Tower', 'TwoTower']),
    ('42_rank', 60, 'Which of the hundred comes first?', "Put a few hundred candidates into a better order with all that is known of a person and a film, and prove on people's own choices that it is better.", ['04_evaluate', '20_implicit', '40_candidates'], ['PairFeatures', 'Ranker']),
    ('43_rerank', 78, 'From a list to a page', 'Keep off a page what must not be shown, and put the rest into an order that people enjoy, by rules that anybody can read.', ['20_implicit', '40_candidates'], ['Filter', 'FittedFilter', 'ItemFilter', 'LevelFilter', 'PairFilter', 'seen', 'rule', 'age_rated', 'as_filters', 'Page', 'Moved', 'Step', 'Diverse', 'Cap', 'Picks', 'Pin', 'Promote', 'Fresh', 'FunctionStep']),
    ('44_pipeline', 78, 'One answer, whatever breaks', 'Put candidates, filters, a scorer and an order behind one `recommend`, which explains every place and never comes back empty-handed.', ['40_candidates', '42_rank', '43_rerank'], ['StageTimeout', 'StageWarning', 'Misses', 'Stages', 'Pipeline', 'Candidates', 'SeenFilter']),
    ('60_hashing', 87, 'Vocabularies too large to hold', 'Give every id a vector from a table of any size you can afford, know what that costs, and hash a million ids in the blink of an eye.', ['01_data', '13_models'], ['hash_bucket', 'HashedEmbedding', 'QREmbedding', 'HashedDotProduct']),
    ('90_core', 63, 'The workbench', 'Find the tools that every model of the library is made with, each with the example that shows how it behaves.', [], ['blocks', 'block_rows', 'top_rows', 'Saveable', 'rebuild', 'Damaged', 'FeatureEncoder', 'by_code']),
    ('91_datasets', 106, 'Data from files, releases and Kaggle', 'Load any table of ratings from a file, a MovieLens release or Kaggle, without losing a zero or a row.', ['01_data'], ['find_table', 'plain_ids', 'side_table', 'load_file', 'load_sequences', 'load_movielens', 'load_kaggle', 'load_course_data', 'load_named']),
    ('92_check', 14, 'Keep your promises', 'Prove that a model of your own keeps the contract of every recommender, with one call.', ['03_recommender'], ['check_recommender']),
    ('93_exercise', 57, 'Exercises that check themselves', 'Write an exercise once: the lesson keeps the solution, the learner gets a blank, and every likely mistake gets its own advice.', [], ['grade', 'quiz', 'blank']),
    ('94_cli', 76, 'The command line', 'Use what the lessons built without writing Python: from a file of ratings to recommendations in three commands.', ['03_recommender', '11_factorize'], ['WEIGHTS', 'SPACES', 'FORMATS', 'RATED', 'Refused', 'Failed', 'TextTable', 'file_options', 'command', 'train', 'recommend', 'similar', 'evaluate', 'lessons', 'ask', 'demo', 'Notes']),
    ('95_demo', 20, 'The course in half a minute', 'See errors, lists, a newcomer and the funnel in one run, and know how the demonstration is made.', ['94_cli'], ['root_mean_square', 'error_table', 'names_of', 'side_by_side', 'rated_names', 'most_liked', 'leave_somebody_out', 'interview', 'demo_pipeline', 'funnel_text', 'plot_errors', 'plot_on_tail', 'draw_findings', 'check_figure', 'one_thread', 'typical_user', 'findings', 'newcomer_text', 'paragraphs', 'for_programs']),
]

# Module of each model that can be made without arguments
MODELS = {
    'Popular': 'recommender',
    'Bias': 'recommender',
    'ItemKNN': 'recommender',
    'FullBatchMF': 'factorize',
    'BiasedMF': 'factorize',
    'ALS': 'factorize',
    'LearnerRecommender': 'learner',
    'BPR': 'implicit',
    'ImplicitALS': 'implicit',
    'EASE': 'implicit',
    'SimilarToRecent': 'candidates',
    'NewArrivals': 'candidates',
    'TwoTower': 'towers',
}
