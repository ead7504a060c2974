"""An archive of logs in pandas: findings, records, what a theft took, who used what. Cells as notebooks know them.

In the folder of the repository: make an archive to try it on, then run this as a script, or cell by cell (VS Code,
Jupytext, Spyder):

    bucketwatch drill --roles 12 --days 2 --kind smash_and_grab --seed 7 --write sample
    python examples/analyst.py sample
"""

# %% What is looked at: logs, and a folder that keeps them parsed, so that the second question takes seconds
import sys
from pathlib import Path

import pandas as pd

from replay import access_review, records, replay, scope_of_loss

folder = Path(sys.argv[1] if len(sys.argv) > 1 else "sample")
logs, cache = folder / "logs", folder / "kept"

# %% Findings: one row a finding. With no rules named, all shipped ones; they and the model take longer
findings = replay(logs, "rules/bulk-read.yaml")
print(findings[["severity", "rule_id", "opened_at", "peak_value"]].to_string(index=False))

# %% Records: only the columns that are needed
every = records(logs, ["time", "operation", "role", "bucket", "bytes"], cache=cache)
reads = every[every["operation"] == "read"]
reads = reads.assign(role=reads["role"].astype(str).str.rpartition("/")[2], hour=reads["time"].dt.floor("h"))
by_hour = reads.pivot_table(index="hour", columns="role", values="bytes", aggfunc="sum", fill_value=0)
busiest = by_hour[by_hour.max().nlargest(5).index] / 1e9
print(busiest.resample("6h").sum().round(2).to_string())

# %% A chart of your own, where matplotlib is installed
try:
    busiest.plot(title="GB read an hour, the five busiest roles", figsize=(10, 4)).figure.savefig(
        folder / "busiest.png"
    )
except ImportError:
    print("no chart: pip install matplotlib")

# %% What the largest finding took, and whose it is
largest = findings.loc[findings["peak_value"].idxmax(), "principal"]
loss = scope_of_loss(largest["session"], logs, owner="raw/{contractor}/**", cache=cache)
print(f"{largest['session']} took {len(loss.objects):,} objects, {loss.objects['bytes'].sum():,} bytes")

# %% Who used what: the table of access, what could be tightened, and a policy for each contractor
review = access_review(logs, scope="session_name=agency0-{id} key=raw/**", cache=cache)
print(review.access.groupby("role")[["requests", "objects", "bytes"]].sum().nlargest(5, "bytes").to_string())
print(pd.DataFrame(review.told["tighten"])[["kind", "who", "why"]].head(10).to_string(index=False))
print(next(iter(review.policies.values()), "no policies"))
