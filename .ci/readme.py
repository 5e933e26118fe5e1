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
    text, _ = MarkdownExporter().from_notebook_node(nb)
    text = re.sub(r'\]\((\w+\.ipynb)', r'](nbs/\1', text).replace('](../', '](')
    return re.sub(r'\n{3,}', '\n\n', text).strip() + '\n'

if __name__ == '__main__': (root/'README.md').write_text(readme(), encoding='utf-8')
