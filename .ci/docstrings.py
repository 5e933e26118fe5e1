"""The words that notebooks keep in comments beside each argument (docments), collected for the docstrings of the library, where `help` and `?` find them."""
import ast, io, tokenize

def comments(text):
    "{line: comment} of a source text"
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    return {t.start[0]: t.string.lstrip('# ').strip() for t in tokens if t.type == tokenize.COMMENT and t.string.strip('# ')}

def is_public(node): return not node.name.startswith('_') or node.name in ('__init__', '__call__')

def arguments(f, said):
    "[(name, (annotation, default), words)] of a function, and what is said of its result"
    args = f.args.args + f.args.kwonlyargs
    defaults = [None]*(len(f.args.args) - len(f.args.defaults)) + f.args.defaults + f.args.kw_defaults
    patched = any('patch' in ast.unparse(d) for d in f.decorator_list)
    rows = [(a, d) for k, (a, d) in enumerate(zip(args, defaults)) if not (k == 0 and (patched or a.arg in ('self', 'cls')))]
    last = max([a.end_lineno for a in args] + [f.lineno])
    lines = [a.end_lineno for a, _ in rows]
    found = []
    for a, d in rows:
        alone = lines.count(a.end_lineno) == 1 and a.end_lineno > f.lineno
        words = said.get(a.end_lineno, '') if alone else ''
        found.append((a.arg, ast.unparse(d) if d is not None else '', words))
    end = f.body[0].lineno
    returns = next((said[k] for k in range(last + 1, end) if k in said), '')
    together = said.get(f.lineno, '') if f.lineno in lines and not any(w for *_, w in found) else ''
    return found, returns, together

def words_of(found, returns, together):
    "Lines that follow the first line of a docstring"
    res = [f'{name}{" = " + default if default else ""}: {words}' for name, default, words in found if words]
    if together: res.append(f'{", ".join(name for name, *_ in found)}: {together}')
    if returns and returns != 'self': res.append(f'Returns: {returns}')
    return res

def docs(text):
    "{qualified name: lines} of the public functions, methods and classes in the source of a module"
    said, res = comments(text), {}
    body = ast.parse(text).body
    for outer, nodes in [('', body), *((n.name + '.', n.body) for n in body if isinstance(n, ast.ClassDef))]:
        for node in nodes:
            if not isinstance(node, (ast.FunctionDef, ast.ClassDef)) or not is_public(node): continue
            if isinstance(node, ast.FunctionDef):
                patched = any('patch' in ast.unparse(d) for d in node.decorator_list) and node.args.args[0].annotation
                owner = ast.unparse(node.args.args[0].annotation) + '.' if patched else outer
                res[owner + node.name] = words_of(*arguments(node, said))
                continue
            init = next((o for o in node.body if isinstance(o, ast.FunctionDef) and o.name == '__init__'), None)
            fields = [o for o in node.body if isinstance(o, ast.AnnAssign) and o.lineno in said]
            found = [(o.target.id, ast.unparse(o.value) if o.value is not None else '', said[o.lineno]) for o in fields]
            res[outer + node.name] = words_of(arguments(init, said)[0], '', arguments(init, said)[2]) if init else words_of(found, '', '')
    return {name: lines for name, lines in res.items() if lines and not name.endswith('__init__')}
