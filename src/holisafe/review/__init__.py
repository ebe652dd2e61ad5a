"""Review by people in Label Studio: a project of files out, its JSON export in, agreement, and what is left to settle.

`write_project` writes tasks, pictures and a labelling configuration; `read_exports` reads what people say of the tasks;
`settle` and `agree` say what follows. `export_sample` and `import_sample` do both for a server's review sample; for
built data `holisafe.building` does. Nothing is sent anywhere.
"""

from __future__ import annotations

from holisafe.review._agree import Agreed, agree
from holisafe.review._export import Annotation, Exports, read_exports
from holisafe.review._project import FOLDER, UNUSABLE, Form, Project, Task, write_json, write_project
from holisafe.review._sample import SAMPLE, SampleReview, export_sample, import_sample, is_sample
from holisafe.review._settle import ADJUDICATE, ADJUDICATOR, Settled, adjudication_list, roles_of, settle

__all__ = [
    "ADJUDICATE",
    "ADJUDICATOR",
    "FOLDER",
    "SAMPLE",
    "UNUSABLE",
    "Agreed",
    "Annotation",
    "Exports",
    "Form",
    "Project",
    "SampleReview",
    "Settled",
    "Task",
    "adjudication_list",
    "agree",
    "export_sample",
    "import_sample",
    "is_sample",
    "read_exports",
    "roles_of",
    "settle",
    "write_json",
    "write_project",
]
