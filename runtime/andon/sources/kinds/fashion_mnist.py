"""Fashion-MNIST: 60 000 + 10 000 grey pictures of clothes, 28 x 28. Some classes are good, the others are defects.

Example: ``fashion_mnist:normal=sneaker,root=data/fashion_mnist``. The ten classes are given by name or by number; names are in
lower case and without spaces. Source: Xiao, Rasul and Vollgraf, 2017 (MIT licence). Layout and digests are the same as in
torchvision.
"""

from functools import partial

from andon.sources.labelled.class_set import class_source
from andon.sources.labelled.idx_set import IdxSet, Sums, open_idx

FASHION = IdxSet(
    name="fashion_mnist",
    folder="FashionMNIST",
    classes=(
        "t-shirt",
        "trouser",
        "pullover",
        "dress",
        "coat",
        "sandal",
        "shirt",
        "sneaker",
        "bag",
        "ankle_boot",
    ),
    sums={
        "train-images-idx3-ubyte": Sums("8d4fb7e6c68d591d4c3dfef9ec88bf0d", "f4a8712d7a061bf5bd6d2ca38dc4d50a"),
        "train-labels-idx1-ubyte": Sums("25c81989df183df01b3e8a0aad5dffbe", "9018921c3c673c538a1fc5bad174d6f9"),
        "t10k-images-idx3-ubyte": Sums("bef4ecab320f06d8554ea6380940ec79", "8181f5470baa50b63fa0f6fddb340f0a"),
        "t10k-labels-idx1-ubyte": Sums("bb300cfdad3c16e7a12a480ee83cd310", "15d484375f8d13e6eb1aabb0c3f46965"),
    },
)

SOURCE = class_source(
    "fashion_mnist",
    "pictures of clothes, with the good classes given: fashion_mnist:normal=sneaker,root=PATH",
    partial(open_idx, FASHION),
)
