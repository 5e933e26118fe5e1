"Write README.md from nbs/index.ipynb, with links as seen from the repository's root"
import re
from pathlib import Path

import nbformat
from nbconvert import MarkdownExporter

root = Path(__file__).resolve().parent.parent

def readme():
    "The text of README.md"
    nb = nbformat.reads((root/'nbs/index.ipynb').read_text(encoding='utf-8'), 4)
    nb.metadata.language_info = {'name': 'python'}
    for cell in nb.cells: cell.metadata['transient'] = {'remove_source': cell.source.startswith('#| echo: false')}
    for cell in nb.cells: cell.outputs = [o for o in cell.get('outputs', []) if o.output_type != 'stream' or cell.source[:14] != '#| echo: false'] if 'outputs' in cell else []
    text, _ = MarkdownExporter().from_notebook_node(nb)
    text = re.sub(r'\]\((\w+\.ipynb)', r'](nbs/\1', text).replace('](../', '](')
    return re.sub(r'\s*\n{2,}', '\n\n', text).strip() + '\n'

def write():
    "Write README.md"
    (root/'README.md').write_text(readme(), encoding='utf-8')

if __name__ == '__main__': write()
