"""Public sets of sentences in two languages and more.

Each is read in one direction unless a recipe wants another: `read.source_column` and `read.target_column` say which
language is translated into which.
"""

from __future__ import annotations

from training.data.formats.options import ReadOptions
from training.data.public.named_dataset import NamedDataset, file_split, language_files

TRANSLATION_SETS = (
    NamedDataset(
        name="tatoeba_en_de",
        tasks=("translation",),
        language="en-de",
        splits={
            "train": file_split("train.tsv", "b0d9b221e0eea1ee54e4ff53a4338eb2aadf345df4838fe1f48fc886922df325"),
            "dev": file_split("dev.tsv", "3600e5ce4aa80e18da6828618a7ad1049b9a31555e3f07b10c54b6b4aeacf441"),
        },
        licence="CC BY 2.0",
        attribution="Sentences from the Tatoeba Project (tatoeba.org), packaged by manythings.org/anki.",
        home="https://www.manythings.org/anki/",
        may_ship=True,
        options=ReadOptions(source_column="en", target_column="de"),
        note="the version of 2018-05-13, split so that no sentence is in two parts",
    ),
    NamedDataset(
        name="tatoeba_en_fr",
        tasks=("translation",),
        language="en-fr",
        splits={
            "train": file_split("train.tsv", "c50623d849cd3d84a62c0f1e92b09c2450538dad41b0af9820375877d6418cba"),
            "dev": file_split("dev.tsv", "7b9f4402831d6280561b9b8939ec74fd9efb7635e37453807ee72a14370605cd"),
        },
        licence="CC BY 2.0",
        attribution="Sentences from the Tatoeba Project (tatoeba.org), packaged by manythings.org/anki.",
        home="https://www.manythings.org/anki/",
        may_ship=True,
        options=ReadOptions(source_column="en", target_column="fr"),
        note="the version of 2019-04-07, split so that no sentence is in two parts",
    ),
    NamedDataset(
        name="multi30k",
        tasks=("translation",),
        language="en-de",
        splits={
            "train": language_files(
                "train",
                en="460a15fbd157e34a7a9957ee388c1ca247fe47af3ef25fb50442af6c274e0fc6",
                de="2c2b73fd2b548fbcde3a875e0a78d6ee94d498bfdee6bd3eae3945779e9ddf72",
                fr="5925a3c18f1587b6b54b87743106e6e8ab93618edb6f65d19eac0621f853a10d",
            ),
            "dev": language_files(
                "val",
                en="1f2a23d992769b5b3d209b0a10dd0b77c08cceb1f20dfb97ed0aafa49d107227",
                de="660e09eb7e1da2f856ea13ee5ad3cf6d36b3d5b0b733c857e94c5747a3dfc660",
                fr="5304e444d842e962b2dda4d816b70b22a1765b15401642b7ca37a67477e708dc",
            ),
        },
        licence="none stated; the images are for non-commercial research and education",
        attribution="Multi30k: Elliott et al. (2016), Multi30K: Multilingual English-German Image Descriptions, VL; "
        "French by Elliott et al. (2017), WMT.",
        home="https://github.com/multi30k/dataset",
        may_ship=False,
        options=ReadOptions(format="parallel", source_column="en", target_column="de"),
        note="task 1, raw text, line n of each language a translation of line n of the others; `val` is read as dev",
    ),
)
