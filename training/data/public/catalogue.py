"""Public data sets by name: their files with digests, how to read them, and what their licences ask for."""

from __future__ import annotations

from training.data.formats.options import ReadOptions
from training.data.public.named_dataset import DataFile, NamedDataset, Split, file_split
from training.data.public.picture_catalogue import PICTURE_SETS
from training.data.public.signal_catalogue import SIGNAL_SETS
from training.data.public.text_catalogue import TEXT_SETS
from training.data.public.translation_catalogue import TRANSLATION_SETS

__all__ = ["NAMED_DATASETS", "DataFile", "NamedDataset", "Split"]

_GITHUB = "https://raw.githubusercontent.com"
_EWT = f"{_GITHUB}/UniversalDependencies/UD_English-EWT/15d613d8447b3478787d4c278730a1e48a945efb"
_BOSQUE = f"{_GITHUB}/UniversalDependencies/UD_Portuguese-Bosque/5de7ac34028ff6d1718031a4b0ae895717ed8dbe"
_SEQUOIA = f"{_GITHUB}/UniversalDependencies/UD_French-Sequoia/f5b049600c89d2cf15ebbec860f75d703884d32b"
_WNUT = f"{_GITHUB}/leondz/emerging_entities_17/e52a2d2a71ac1a051ca2d532eef28653c5c02603"
_SHAKESPEARE = f"{_GITHUB}/karpathy/char-rnn/6f9487a6fe5b420b7ca9afb0d7c078e37c1d1b4e/data/tinyshakespeare/input.txt"
_WIKITEXT = f"{_GITHUB}/pytorch/examples/77f55b912142e11fcfdf5b530231fb9c52f181e8/word_language_model/data/wikitext-2"

_EWT_TEXT_RIGHTS = "Rights in some of the underlying web texts are held by their authors."


def _ett(name: str, train: str, dev: str) -> NamedDataset:
    """Loads and oil temperature of a transformer, of 12 and then 4 months of 30 days (Zhou et al. 2021)."""
    return NamedDataset(
        name=name.lower(),
        tasks=("forecasting",),
        language="",
        splits={"train": file_split(f"{name}_train.csv", train), "dev": file_split(f"{name}_dev.csv", dev)},
        licence="CC BY-ND 4.0",
        attribution="ETDataset: Haoyi Zhou et al. (2021), Informer, AAAI; the original files, cut by time.",
        home="https://github.com/zhouhaoyi/ETDataset",
        may_ship=False,
        options=ReadOptions(time_column="date"),
        note=f"rows of {name}.csv in their order with its header: the first 12 months of 30 days, then the next 4",
        folder="ett",
    )


#: Dust, weather, the wind's direction as zeros and ones, and the hour of the day.
_BEIJING_CHANNELS = (
    *("pm2.5", "DEWP", "TEMP", "PRES", "cbwd=NE", "cbwd=NW", "cbwd=SE", "cbwd=cv", "Iws", "Is", "Ir", "hour"),
)

_ALL = (
    NamedDataset(
        name="ud_english_ewt",
        tasks=("tagging",),
        language="en",
        splits={
            "train": file_split(
                "en_ewt-ud-train.conllu",
                "3fb78e2b55482c8ee00caa653af436c88c9e5bc9a73ce26e4ae3ddc79d2b7e7b",
                f"{_EWT}/en_ewt-ud-train.conllu",
            ),
            "dev": file_split(
                "en_ewt-ud-dev.conllu",
                "531a54ff90d6ab12201c5a50c3e78e6ddac4de69abc4bce5d275d3cd29efe2b6",
                f"{_EWT}/en_ewt-ud-dev.conllu",
            ),
        },
        licence="CC BY-SA 4.0",
        attribution="UD English EWT: Silveira et al. (2014), A Gold Standard Dependency Corpus for English, LREC. "
        + _EWT_TEXT_RIGHTS,
        home="https://github.com/UniversalDependencies/UD_English-EWT",
        may_ship=True,
    ),
    NamedDataset(
        name="ud_portuguese_bosque",
        tasks=("tagging",),
        language="pt",
        splits={
            "train": file_split(
                "pt_bosque-ud-train.conllu",
                "b56d7124af821e2968302c38298904ec67af342304a33ae8a9dc4fa57df89648",
                f"{_BOSQUE}/pt_bosque-ud-train.conllu",
            ),
            "dev": file_split(
                "pt_bosque-ud-dev.conllu",
                "f8a67abae12fbab85a3995204a6459d1958c11065062d4ea5349d6b914e78f81",
                f"{_BOSQUE}/pt_bosque-ud-dev.conllu",
            ),
        },
        licence="CC BY-SA 4.0",
        attribution="UD Portuguese Bosque: Rademaker et al. (2017), Universal Dependencies for Portuguese, Depling.",
        home="https://github.com/UniversalDependencies/UD_Portuguese-Bosque",
        may_ship=True,
    ),
    NamedDataset(
        name="ud_french_sequoia",
        tasks=("tagging",),
        language="fr",
        splits={
            "train": file_split(
                "fr_sequoia-ud-train.conllu",
                "56424954edf9d20a4d1184e37bfe931fb7c64da82bf2a587b4f35b828d79d767",
                f"{_SEQUOIA}/fr_sequoia-ud-train.conllu",
            ),
            "dev": file_split(
                "fr_sequoia-ud-dev.conllu",
                "a5138dc5e8886484c2f8919e97113f56b9e4329e5cf2a999c021d6ee45e8b45d",
                f"{_SEQUOIA}/fr_sequoia-ud-dev.conllu",
            ),
        },
        licence="LGPL-LR",
        attribution="UD French Sequoia: Candito and Seddah (2012), Le corpus Sequoia, TALN.",
        home="https://github.com/UniversalDependencies/UD_French-Sequoia",
        may_ship=True,
    ),
    NamedDataset(
        name="uner_english_ewt",
        tasks=("tagging",),
        language="en",
        splits={
            "train": file_split("train.iob2.tsv", "43b7fd2f4c5409a628cca2ae5e9fcdd7e6dba032e5b75ae994ef1fb4db890181"),
            "dev": file_split("dev.iob2.tsv", "789c56b46a2c5174a19b9ffab1364617a340f71dc8f9b233870900bc41d4a727"),
        },
        licence="CC BY-SA 4.0",
        attribution="Universal NER, English EWT: Mayhew et al. (2024), Universal NER, NAACL; on the sentences of UD "
        "English EWT, Silveira et al. (2014). " + _EWT_TEXT_RIGHTS,
        home="https://github.com/UniversalNER/UNER_English-EWT",
        may_ship=True,
        note="two columns (token, tag), entity types other than PER, LOC and ORG mapped to O",
    ),
    NamedDataset(
        name="wnut17_ner",
        tasks=("tagging",),
        language="en",
        splits={
            "train": file_split(
                "wnut17train.conll",
                "731820e13f71af324c6b55a1575ec2ce59fbaa2a0806f8f0400b98d56cd6a7a5",
                f"{_WNUT}/wnut17train.conll",
            ),
            "dev": file_split(
                "emerging.dev.conll",
                "e053b752b8155113ca66e7db08af5f2f5f43ab993694e4774f1ec5bad42312d8",
                f"{_WNUT}/emerging.dev.conll",
            ),
        },
        licence="CC BY 4.0",
        attribution="WNUT 2017: Derczynski et al. (2017), Results of the WNUT2017 Shared Task, W-NUT.",
        home="https://github.com/leondz/emerging_entities_17",
        may_ship=True,
    ),
    NamedDataset(
        name="conll2000_chunking",
        tasks=("tagging",),
        language="en",
        splits={
            "train": file_split("train.txt", "ed9f6da089f9864b6afa895fede9ea4d604048c0e47a43e4b1d47ab0543c01ba"),
            "dev": file_split("dev.txt", "130ffa605c1a24d950b1a95059e6e99159032a2caeec20a0ccf7c63a2dbc49f8"),
        },
        licence="unknown",
        attribution="CoNLL-2000: Tjong Kim Sang and Buchholz (2000), on Penn Treebank text of the LDC.",
        home="https://www.clips.uantwerpen.be/conll2000/chunking/",
        may_ship=False,
        note="train is the first 8,000 sentences of the official train file, dev the other 936",
    ),
    NamedDataset(
        name="tiny_shakespeare",
        tasks=("generation",),
        language="en",
        splits={
            "train": file_split(
                "train.txt",
                "a9e24e23a1ec77744dad26844bfd5a09b6e041954e1eef0000e7f24cba6db735",
                _SHAKESPEARE,
                (0, 1_003_854),
            ),
            "dev": file_split(
                "dev.txt",
                "c64e90c160750d91a9d2d9b1ace5eab1a440f5a1701d32a8e97a179b7839f1c8",
                _SHAKESPEARE,
                (1_003_854, 1_059_624),
            ),
        },
        licence="public domain",
        attribution="William Shakespeare; compiled by Andrej Karpathy (2015), char-rnn.",
        home="https://github.com/karpathy/char-rnn",
        may_ship=True,
    ),
    NamedDataset(
        name="wikitext2",
        tasks=("generation",),
        language="en",
        splits={
            "train": file_split(
                "wiki.train.tokens",
                "9e9fa1ad55b1c2c95b08e37dd8e653f638fac2c6de904b79e813611eefbc985f",
                f"{_WIKITEXT}/train.txt",
            ),
            "dev": file_split(
                "wiki.valid.tokens",
                "f0737ed31fc1329026e95cb8b98e19c2a182c39c240ab909dc31abf2f8af58e8",
                f"{_WIKITEXT}/valid.txt",
            ),
        },
        licence="CC BY-SA 3.0",
        attribution="WikiText-2: Merity et al. (2017), Pointer Sentinel Mixture Models, ICLR; text of Wikipedia.",
        home="https://github.com/pytorch/examples/tree/main/word_language_model/data/wikitext-2",
        may_ship=True,
    ),
    _ett(
        "ETTh1",
        "a06338d5f985608f8d445769917d91cd6c68a35068be12164f2e2231b02e3e77",
        "1cd545c2c30e561f6a8cd75e6b282a330309b2ba4f13424f01f9088e5d3bffa5",
    ),
    _ett(
        "ETTh2",
        "195fc02a6db378eacdeb9cd391c5b721415758b3caaefbef4c65b84c746706a6",
        "c4cbc4586924a020853e945891627bdd27b27d3ead03aeb27fed354fe55c4f8c",
    ),
    _ett(
        "ETTm1",
        "fe817370a33638a06a8289f66197f7d4533975e01addf761df69a77de11fd441",
        "2637f39f4a69c290243d389318944d37ca6a35d1cfad0f0da56ce95ca45b3cec",
    ),
    NamedDataset(
        name="beijing_pm25",
        tasks=("forecasting",),
        language="",
        splits={
            "train": file_split("train.csv", "8bde8f3852b77c4bb70174dadb6a96a7bbeab64fa2f294c01e003529693cf822"),
            "dev": file_split("dev.csv", "38e195e973c8eceffea19af32da8ab9270ea19de9de7a2884aa76923a208b1f0"),
        },
        licence="CC BY 4.0",
        attribution="Beijing PM2.5: Xuan Liang et al. (2015), Proc. Royal Society A 471; UCI repository.",
        home="https://archive.ics.uci.edu/dataset/381/beijing+pm2+5+data",
        may_ship=True,
        options=ReadOptions(time_column="No", target_column="pm2.5", channel_columns=_BEIJING_CHANNELS),
        note="hours of 2010-01 to 2013-06 as train, 2013-07 to 2013-12 as dev, with the header of the original",
    ),
)

NAMED_DATASETS: dict[str, NamedDataset] = {
    dataset.name: dataset for dataset in (*_ALL, *TEXT_SETS, *TRANSLATION_SETS, *SIGNAL_SETS, *PICTURE_SETS)
}
