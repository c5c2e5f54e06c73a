"""What a user may write; mypy --strict must see slamjax's types in it."""

import slamjax
from slamjax.datasets import load_xp_giants

stars, new = load_xp_giants()
emulator = slamjax.Polynomial(degree=2)
model = slamjax.train(stars[:60], ["teff", "logg"], emulator=emulator, noise="diagonal")
labels = slamjax.fit(model, new[:4])
names: tuple[str, ...] = model.label_names
print(names, len(labels))
