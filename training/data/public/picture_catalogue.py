"""Public sets of pictures with captions."""

from __future__ import annotations

from training.data.formats.options import ReadOptions
from training.data.public.named_dataset import DataFile, NamedDataset, Split

PICTURE_SETS = (
    NamedDataset(
        name="emoji_captions",
        tasks=("captioning",),
        language="en",
        splits={
            "train": Split(
                "train.tsv",
                (
                    DataFile("train.tsv", "9a8e2679e4ca6f3fdcb185863b9163f9564e22b06a028593e84451820025087b"),
                    DataFile("train_google.zip", "25549b7c7442ef6450f22d38224957dcaec1cc90faa9848378c0af57b890c8b9"),
                    DataFile("train_openmoji.zip", "eba9978d5d2f20eda140abc6ceda54543cd347139321a27655ffe24fa42c836d"),
                    DataFile("train_twitter.zip", "70e5434c7ccd5935fdf5a40b1c074d31f610a6d669ae7af5e81c58e5457a1e62"),
                ),
            ),
            "dev": Split(
                "dev.tsv",
                (
                    DataFile("dev.tsv", "71c7778ec50020f02df4ea73204cdac3e4df569ff7fb5cc02c3beaecdf0ae422"),
                    DataFile("dev_twitter.zip", "aea519b6a996282acffd083da2ecd8526df68a23c8a270f7ba5fdc70a47e0284"),
                ),
            ),
        },
        licence="CC BY-SA 4.0 (OpenMoji), CC BY 4.0 (Twemoji), Apache 2.0 (Noto Emoji), Unicode licence v3 (captions)",
        attribution="Pictures: Google Noto Emoji; Twitter Twemoji, copyright 2020 Twitter, Inc and other contributors; "
        "OpenMoji, HfG Schwaebisch Gmuend. Captions: Unicode CLDR short names, by way of emojibase.",
        home="https://github.com/iamcal/emoji-data",
        may_ship=True,
        options=ReadOptions(text_column="caption_en", group_column="vendor"),
        note="emoji of three vendors as PNG files of 64 x 64 in SPLIT_VENDOR.zip, and SPLIT.tsv with the columns file, "
        "vendor, codepoints, emoji, caption_en, caption_de, caption_fr, keywords_en, group, subgroup; dev is the "
        "Twitter drawing of a fifth of those emoji that Google draws, too",
    ),
)
