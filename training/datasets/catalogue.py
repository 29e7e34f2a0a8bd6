"""Public data sets by name: their files with digests, how to read them, and what their licences ask for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from service.bundle.manifest import TaskName
from training.datasets.options import ReadOptions

_GITHUB = "https://raw.githubusercontent.com"
_EWT = f"{_GITHUB}/UniversalDependencies/UD_English-EWT/15d613d8447b3478787d4c278730a1e48a945efb"
_BOSQUE = f"{_GITHUB}/UniversalDependencies/UD_Portuguese-Bosque/5de7ac34028ff6d1718031a4b0ae895717ed8dbe"
_SEQUOIA = f"{_GITHUB}/UniversalDependencies/UD_French-Sequoia/f5b049600c89d2cf15ebbec860f75d703884d32b"
_WNUT = f"{_GITHUB}/leondz/emerging_entities_17/e52a2d2a71ac1a051ca2d532eef28653c5c02603"
_SHAKESPEARE = f"{_GITHUB}/karpathy/char-rnn/6f9487a6fe5b420b7ca9afb0d7c078e37c1d1b4e/data/tinyshakespeare/input.txt"
_WIKITEXT = f"{_GITHUB}/pytorch/examples/77f55b912142e11fcfdf5b530231fb9c52f181e8/word_language_model/data/wikitext-2"

_EWT_TEXT_RIGHTS = "Rights in some of the underlying web texts are held by their authors."


@dataclass(frozen=True)
class DataFile:
    """One file of a split.

    `path` is relative to the folder of the data set; `path + ".gz"` is as good. `sha256` is of the content before any
    compression. `url` gives exactly this content, or, with `byte_range`, these bytes (first, one past the last) of
    it; None when the public form of the data differs and has to be converted first.
    """

    path: str
    sha256: str
    url: str | None = None
    byte_range: tuple[int, int] | None = None


@dataclass(frozen=True)
class Split:
    """What to give to a reader (`path`: a file, or a folder that holds the files), and the files it consists of."""

    path: str
    files: tuple[DataFile, ...]


@dataclass(frozen=True)
class NamedDataset:
    """A public data set. `may_ship` says whether models trained on it may be given away, as far as we can tell."""

    name: str
    tasks: tuple[TaskName, ...]
    language: str
    splits: Mapping[str, Split]
    licence: str
    attribution: str
    home: str
    may_ship: bool
    options: ReadOptions = field(default_factory=ReadOptions)
    note: str = ""


def _file(path: str, sha256: str, url: str | None = None, byte_range: tuple[int, int] | None = None) -> Split:
    return Split(path, (DataFile(path, sha256, url, byte_range),))


def _slot_folder(folder: str, label: str, words: str, tags: str) -> Split:
    digests = {"label": label, "seq.in": words, "seq.out": tags}
    return Split(folder, tuple(DataFile(f"{folder}/{name}", sha256) for name, sha256 in digests.items()))


_ALL = (
    NamedDataset(
        name="ud_english_ewt",
        tasks=("tagging",),
        language="en",
        splits={
            "train": _file(
                "en_ewt-ud-train.conllu",
                "3fb78e2b55482c8ee00caa653af436c88c9e5bc9a73ce26e4ae3ddc79d2b7e7b",
                f"{_EWT}/en_ewt-ud-train.conllu",
            ),
            "dev": _file(
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
            "train": _file(
                "pt_bosque-ud-train.conllu",
                "b56d7124af821e2968302c38298904ec67af342304a33ae8a9dc4fa57df89648",
                f"{_BOSQUE}/pt_bosque-ud-train.conllu",
            ),
            "dev": _file(
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
            "train": _file(
                "fr_sequoia-ud-train.conllu",
                "56424954edf9d20a4d1184e37bfe931fb7c64da82bf2a587b4f35b828d79d767",
                f"{_SEQUOIA}/fr_sequoia-ud-train.conllu",
            ),
            "dev": _file(
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
            "train": _file("train.iob2.tsv", "43b7fd2f4c5409a628cca2ae5e9fcdd7e6dba032e5b75ae994ef1fb4db890181"),
            "dev": _file("dev.iob2.tsv", "789c56b46a2c5174a19b9ffab1364617a340f71dc8f9b233870900bc41d4a727"),
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
            "train": _file(
                "wnut17train.conll",
                "731820e13f71af324c6b55a1575ec2ce59fbaa2a0806f8f0400b98d56cd6a7a5",
                f"{_WNUT}/wnut17train.conll",
            ),
            "dev": _file(
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
            "train": _file("train.txt", "ed9f6da089f9864b6afa895fede9ea4d604048c0e47a43e4b1d47ab0543c01ba"),
            "dev": _file("dev.txt", "130ffa605c1a24d950b1a95059e6e99159032a2caeec20a0ccf7c63a2dbc49f8"),
        },
        licence="unknown",
        attribution="CoNLL-2000: Tjong Kim Sang and Buchholz (2000), on Penn Treebank text of the LDC.",
        home="https://www.clips.uantwerpen.be/conll2000/chunking/",
        may_ship=False,
        note="train is the first 8,000 sentences of the official train file, dev the other 936",
    ),
    NamedDataset(
        name="snips_slots",
        tasks=("tagging", "classification"),
        language="en",
        splits={
            "train": _slot_folder(
                "train",
                "bfd7df6cf9dd76c5da5d8b61bc85f90386197bdd3d7510c1d324c051537b962f",
                "6350b109f347de376d346684736cdf0fa0c11b683b92ed1779c314c8f6f82d49",
                "53f6c13ba3171c820fd5f4302955d7f49c2619536cf12b498ab919d801480704",
            ),
            "dev": _slot_folder(
                "dev",
                "9c1dd041216f647bcfca838aaf1a48eb5781e4404256d31ff07cd38a5436c52f",
                "22b6ed3ed62d9000fef93c5e030bd2872c954b8e62089a884be76418b2dd74b9",
                "3d6ef9e9c3e98f6ae4eac83e91ea8e2bba61b32e1b2c64b0c70340085496489f",
            ),
        },
        licence="CC0 1.0",
        attribution="Snips: Coucke et al. (2018), Snips Voice Platform; split of Goo et al. (2018).",
        home="https://github.com/MiuLab/SlotGated-SLU/tree/master/data/snips",
        may_ship=True,
        note="the folder `valid` is named `dev`, and blanks at line ends are removed",
    ),
    NamedDataset(
        name="clinc150",
        tasks=("classification",),
        language="en",
        splits={
            "train": _file("train.tsv", "26625cfbf6f151ce8a3568d89f5de83b9898f266009ac2fda53666e0fe0731e0"),
            "dev": _file("dev.tsv", "ca2f459eb7ca0be26d0aa2e9980891fad49cbc4356f5c9e41edbf6f57ffd5c46"),
        },
        licence="CC BY 3.0",
        attribution="CLINC150: Larson et al. (2019), An Evaluation Dataset for Intent Classification and "
        "Out-of-Scope Prediction, EMNLP-IJCNLP.",
        home="https://github.com/clinc/oos-eval",
        may_ship=True,
        options=ReadOptions(text_column="text", label_column="intent"),
        note="data_full.json and domains.json as tables with the columns intent, domain, text",
    ),
    NamedDataset(
        name="banking77",
        tasks=("classification",),
        language="en",
        splits={
            "train": _file("train.tsv", "2b30895607c8eaf60ad6d6c05de63440e3bc676d81e73c35414ffa65ef58c671"),
            "dev": _file("dev.tsv", "d67f351c0550d57b77a363e07ec612cc6c6811d383a62e62246d82929f10656a"),
        },
        licence="CC BY 4.0",
        attribution="Banking77: Casanueva et al. (2020), Efficient Intent Detection with Dual Sentence Encoders.",
        home="https://github.com/PolyAI-LDN/task-specific-datasets",
        may_ship=True,
        note="the official train file with runs of white space made one blank, a tenth of it split off as dev",
    ),
    NamedDataset(
        name="sms_spam",
        tasks=("classification",),
        language="en",
        splits={
            "train": _file("train.tsv", "dbd56a3efbfbaa8b50b4370df68e72cfce4de27c3be9b998e3a0f12999ecb77f"),
            "dev": _file("dev.tsv", "93f29585e032651338c411659b98f3fef480bf2434c59f7eb50001d23de4b68b"),
        },
        licence="CC BY 4.0",
        attribution="SMS Spam Collection: Almeida, Gomez Hidalgo and Yamakami (2011), DocEng.",
        home="https://archive.ics.uci.edu/dataset/228/sms+spam+collection",
        may_ship=True,
        note="split by a hash of the message, with a header line, and mis-decoded quotes and dashes mended",
    ),
    NamedDataset(
        name="names_by_language",
        tasks=("classification",),
        language="",
        splits={
            "train": _file("train.tsv", "09951bec20a4498f4dde27a26b058f092980b833015b182e9636f77f7662ba4b"),
            "dev": _file("dev.tsv", "9a9bb2e4ee56545bef8fcede901316421e80d51ec946fc73b04b18d281a4b1ed"),
        },
        licence="unknown",
        attribution="Sean Robertson, Practical PyTorch: Classifying Names with a Character-Level RNN.",
        home="https://github.com/spro/practical-pytorch/tree/master/data/names",
        may_ship=False,
        options=ReadOptions(text_column="name", label_column="language"),
        note="one table instead of a file per language, split by a hash of the name",
    ),
    NamedDataset(
        name="tatoeba_en_de",
        tasks=("translation",),
        language="en-de",
        splits={
            "train": _file("train.tsv", "b0d9b221e0eea1ee54e4ff53a4338eb2aadf345df4838fe1f48fc886922df325"),
            "dev": _file("dev.tsv", "3600e5ce4aa80e18da6828618a7ad1049b9a31555e3f07b10c54b6b4aeacf441"),
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
            "train": _file("train.tsv", "c50623d849cd3d84a62c0f1e92b09c2450538dad41b0af9820375877d6418cba"),
            "dev": _file("dev.tsv", "7b9f4402831d6280561b9b8939ec74fd9efb7635e37453807ee72a14370605cd"),
        },
        licence="CC BY 2.0",
        attribution="Sentences from the Tatoeba Project (tatoeba.org), packaged by manythings.org/anki.",
        home="https://www.manythings.org/anki/",
        may_ship=True,
        options=ReadOptions(source_column="en", target_column="fr"),
        note="the version of 2019-04-07, split so that no sentence is in two parts",
    ),
    NamedDataset(
        name="tiny_shakespeare",
        tasks=("generation",),
        language="en",
        splits={
            "train": _file(
                "train.txt",
                "a9e24e23a1ec77744dad26844bfd5a09b6e041954e1eef0000e7f24cba6db735",
                _SHAKESPEARE,
                (0, 1_003_854),
            ),
            "dev": _file(
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
            "train": _file(
                "wiki.train.tokens",
                "9e9fa1ad55b1c2c95b08e37dd8e653f638fac2c6de904b79e813611eefbc985f",
                f"{_WIKITEXT}/train.txt",
            ),
            "dev": _file(
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
)

NAMED_DATASETS: dict[str, NamedDataset] = {dataset.name: dataset for dataset in _ALL}
