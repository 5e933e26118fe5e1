"""The words that notebooks keep in comments beside each argument (docments), put into the docstrings of an exported module, where `help` and `?` find them."""
import ast, io, re, textwrap, tokenize

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

def with_arguments(text):
    "The source of a module, whose docstrings also say what is said beside the arguments"
    said, lines, edits = comments(text), text.splitlines(), []
    body = ast.parse(text).body
    inside = [o for n in body if isinstance(n, ast.ClassDef) for o in n.body]
    for node in [*body, *inside]:                # not what stands inside a function
        if not isinstance(node, (ast.FunctionDef, ast.ClassDef)) or not is_public(node) or ast.get_docstring(node) is None: continue
        f = node
        if isinstance(node, ast.ClassDef):
            f = next((o for o in node.body if isinstance(o, ast.FunctionDef) and o.name == '__init__'), None)
            fields = [o for o in node.body if isinstance(o, ast.AnnAssign) and o.lineno in said]
            found = [(o.target.id, ast.unparse(o.value) if o.value is not None else '', said[o.lineno]) for o in fields if o.end_lineno == o.lineno]
            extra = words_of(*arguments(f, said)[:1], '', arguments(f, said)[2]) if f else words_of(found, '', '')
        else: extra = words_of(*arguments(f, said))
        doc = node.body[0]
        if not extra or not re.match(r'\s*[\'"]', lines[doc.lineno - 1][doc.col_offset:]): continue
        edits.append((doc, node.body[0].value.value, extra))
    for doc, first, extra in sorted(edits, key=lambda e: -e[0].lineno):
        if lines[doc.lineno - 1][:doc.col_offset].strip(): continue       # behind a colon, on one line
        indent = ' '*doc.col_offset
        head = first.strip().split('\n')
        if len(head) == 1: head = textwrap.wrap(head[0], 116 - len(indent), subsequent_indent=indent) or ['']
        wrapped = [l for o in extra for l in textwrap.wrap(o, 118, initial_indent=indent, subsequent_indent=indent + '    ', break_long_words=False, break_on_hyphens=False)]
        safe = [o.replace('\\', '\\\\').replace('"""', "'''") for o in [*head, '', *wrapped]]
        after = lines[doc.end_lineno - 1][doc.end_col_offset:]
        lines[doc.lineno - 1:doc.end_lineno] = [f'{indent}"""{safe[0]}', *safe[1:], f'{indent}"""{after}']
    return '\n'.join(lines) + '\n'
