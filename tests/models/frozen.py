"""What torchvision 0.28 and timm 1.0.31 said: a digest of all names and shapes, and the logits of the first image.

timm names ResNet and DenseNet as torchvision does.
"""

FROZEN: dict[tuple[str, str], tuple[str, list[float]]] = {
    ("resnet18", "torchvision"): ("e196ce2f8762c59a", [1.32541, 1.27946, 3.22593, -2.08536, 5.30054]),
    ("resnet50", "torchvision"): ("e57d65f20f022ee8", [1.4161, 4.1718, 0.694439, -1.5727, 0.208048]),
    ("densenet121", "torchvision"): ("407578fa8563fb71", [0.576675, -0.574458, -0.139882, 0.242328, -0.117408]),
    ("efficientnet_b0", "torchvision"): ("c9fecf168188f1da", [56.2887, 7.94772, 253.822, 6.28782, 111.934]),
    ("efficientnet_b0", "timm"): ("4b7832f9a777e754", [82.3527, 115.424, -24.2803, -142.121, 240.369]),
    ("mobilenet_v2", "torchvision"): ("32d3a8bd75deab70", [0.977703, 5.01033, 7.50936, -0.328187, 3.18377]),
    ("mobilenet_v2", "timm"): ("76f5a7d72cb4c095", [-2.50575, -2.27706, 3.01877, 1.18954, 3.60683]),
    ("mobilenet_v3_large", "torchvision"): ("d4d2801a7f60f279", [-11.4838, 56.417, 15.5292, -158.26, 110.512]),
    ("mobilenet_v3_large", "timm"): ("f0376a55f4d81ebb", [-107.856, 642.947, 71.3501, -718.519, 778.549]),
    ("mobilenet_v3_small", "torchvision"): ("365d1b0274d42ce5", [2.15795, 2.04816, 0.264203, -0.492836, -0.302352]),
    ("mobilenet_v3_small", "timm"): ("dfcf41dd0b434473", [-2.99541, 2.53602, -2.29957, -4.77338, -6.5243]),
    ("vit_b_16", "torchvision"): ("ee86b03d7748f7ef", [-0.385006, 2.41601, -3.26296, 1.01794, -1.198]),
    ("vit_b_16", "timm"): ("d62618facc351533", [1.87207, -0.520045, -3.25858, 0.807814, 1.3118]),
}
