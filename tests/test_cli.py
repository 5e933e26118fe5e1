"The command line, as a person meets it: exit codes, one line for a mistake, nothing written where it should not be"
import os, subprocess, sys

import pytest

def cli(*args, cwd, **env):
    return subprocess.run([sys.executable, '-c', 'from recsys_course.cli import main; main()', *args], cwd=cwd, text=True, capture_output=True,
                          timeout=300, env={**os.environ, 'RECSYS_COURSE_DATASET': 'world', **env})

def test_demo(tmp_path):
    res = cli('demo', '--k', '10', '--seed', '42', cwd=tmp_path)
    assert res.returncode == 0, res.stderr
    for text in ('Simulated world: 943 users', '1,682 items', '% of cells empty', 'Bias', 'ItemKNN', 'liked most', 'Similar to', 'recommendations.png'): assert text in res.stdout
    assert (tmp_path/'recommendations.png').stat().st_size > 10_000
    assert 'fitting ItemKNN' in res.stderr                                  # progress, apart from the results
    assert cli('demo', '--k', '10', '--seed', '42', cwd=tmp_path).stdout == res.stdout

@pytest.mark.parametrize('args, message', [(['--user', '999999'], 'unknown user 999999'), (['--user', 'ann'], "unknown user 'ann'"), (['--data', 'nowhere'], 'was not found'),
                                           (['--out', 'no/such/folder/f.png'], 'No such file')])
def test_mistakes_get_a_line_and_exit_code_2(tmp_path, args, message):
    res = cli('demo', *args, cwd=tmp_path)
    last = res.stderr.replace('\r', '\n')
    assert res.returncode == 2 and message in last and 'Traceback' not in last and not res.stdout.count('Test error')

def test_usage_errors_too(tmp_path):
    assert cli('demo', '--k', '0', cwd=tmp_path).returncode == 2
    assert cli('dance', cwd=tmp_path).returncode == 2

def test_demo_on_movielens(tmp_path, movielens):
    res = cli('demo', '--user', '196', '--data', str(movielens), cwd=tmp_path)
    assert res.returncode == 0 and 'MovieLens 100K: 943 users, 1,682 items, 100,000 ratings, 93.7% of cells empty' in res.stdout and 'User 196' in res.stdout
