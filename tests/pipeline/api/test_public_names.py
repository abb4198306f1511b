import subprocess
import sys

import pipeline.api as gavt


def test_every_public_name_is_there():
    assert [name for name in dir(gavt) if getattr(gavt, name, None) is None] == []
    assert gavt.load is sys.modules["pipeline.api.model"].load


def test_importing_the_library_imports_nothing_that_is_not_asked_for():
    code = "import sys, pipeline.api; assert not {'torch', 'numpy', 'pipeline.api.model'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
