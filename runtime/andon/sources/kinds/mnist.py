"""MNIST: 60 000 + 10 000 grey pictures of handwritten digits, 28 x 28. Some digits are good, the others are defects.

Examples: ``mnist:normal=0,root=data/mnist`` (one class is good) or ``mnist:anomaly=5,root=data/mnist`` (all classes except one
are good). Source: LeCun, Cortes and Burges. Layout and digests are the same as in torchvision. Results on this set allow a
comparison with published methods. They do not show how a method works on a production line.
"""

from functools import partial

from andon.sources.labelled.class_set import class_source
from andon.sources.labelled.idx_set import IdxSet, Sums, open_idx

MNIST = IdxSet(
    name="mnist",
    folder="MNIST",
    classes=tuple("0123456789"),
    sums={
        "train-images-idx3-ubyte": Sums("f68b3c2dcbeaaa9fbdd348bbdeb94873", "6bbc9ace898e44ae57da46a324031adb"),
        "train-labels-idx1-ubyte": Sums("d53e105ee54ea40749a09fcbcd1e9432", "a25bea736e30d166cdddb491f175f624"),
        "t10k-images-idx3-ubyte": Sums("9fb629c4189551a2d022fa330f9573f3", "2646ac647ad5339dbf082846283269ea"),
        "t10k-labels-idx1-ubyte": Sums("ec29112dd5afa0611ce80d1b7f02629c", "27ae3e4e09519cfbb04c329615203637"),
    },
)

SOURCE = class_source(
    "mnist",
    "handwritten digits, with the good or defective ones given: mnist:normal=0,root=PATH or mnist:anomaly=5,root=PATH",
    partial(open_idx, MNIST),
)
