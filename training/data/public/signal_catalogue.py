"""Public sets of labelled sequences of numbers."""

from __future__ import annotations

from training.data.formats.options import ReadOptions
from training.data.public.named_dataset import DataFile, NamedDataset, Split, file_split

SIGNAL_SETS = (
    NamedDataset(
        name="fsdd",
        tasks=("classification",),
        language="en",
        splits={
            "train": Split(
                "train.tsv",
                (
                    DataFile("train.zip", "0babf3f0ea0fcde032a6eb5a073d8a0bef484db5d5ec51869add625d0f9cb461"),
                    DataFile("train.tsv", "6adb24108c04d3f7bee7980c8dfd6d4e4de91184a600a6ac290c73a8392c2266"),
                ),
            ),
            "dev": Split(
                "dev.tsv",
                (
                    DataFile("dev.zip", "226323c43f1553f630c6b7d867c2ca8647b396be55bb0bfde704d8340be0f557"),
                    DataFile("dev.tsv", "b1fe12ea5da965fcfd8e97d8fdda2cd46847758dffa36bb52e0a81d56170729e"),
                ),
            ),
        },
        licence="CC BY-SA 4.0",
        attribution="Free Spoken Digit Dataset: Zohar Jackson, Cesar Souza, Jason Flaks, Yuxin Pan, Hereman Nicolas, "
        "Adhish Thite (2018), v1.0.8, Zenodo.",
        home="https://github.com/Jakobovski/free-spoken-digit-dataset",
        may_ship=True,
        options=ReadOptions(label_column="digit", group_column="speaker"),
        note="recordings 10 to 49 of each digit and speaker as train, 5 to 9 as dev: the wave files in SPLIT.zip, and "
        "SPLIT.tsv with the columns file, digit, speaker, index, samples",
    ),
    NamedDataset(
        name="hapt_har",
        tasks=("classification",),
        language="",
        splits={
            "train": file_split(
                "windows_train.npz", "4fc706c81d5a4522502219843e94c90eb78d27f8db6d32ca4ae308546f8739d1"
            ),
            "dev": file_split("windows_dev.npz", "2ca2644b39102850cde1a2042029acfacee4790458a5f8609aa953f39f5cacec"),
        },
        licence="CC BY 4.0 (UCI repository, set 341); the README of its forerunner UCI HAR forbade commercial use",
        attribution="Smartphone-Based Recognition of Human Activities and Postural Transitions: Jorge-L. Reyes-Ortiz, "
        "Luca Oneto, Albert Sama, Xavier Parra, Davide Anguita (2016), Neurocomputing 171.",
        home="https://archive.ics.uci.edu/dataset/341",
        may_ship=False,
        options=ReadOptions(channel_columns=("acc_x", "acc_y", "acc_z", "gyro_x", "gyro_y", "gyro_z")),
        note="windows of 128 samples, half of each shared with the next, cut from every labelled stretch of the six "
        "basic activities; subjects 27 to 30 as dev, the other 17 of train as train",
    ),
    NamedDataset(
        name="japanese_vowels",
        tasks=("classification",),
        language="ja",
        splits={
            "train": file_split("train.csv", "21cfc54ab24c0582850a87018585ae9d0d7c3ff1c0a48f939ec85c72a6622004"),
            "dev": file_split("dev.csv", "54e81a4241de82ed038e0156dc79a5df60f8e2f32f0aa353cbf4359feadbeac0"),
        },
        licence="CC BY 4.0",
        attribution="Japanese Vowels: Mineichi Kudo, Jun Toyama, Masaru Shimbo (1999), Pattern Recognition Letters 20.",
        home="https://archive.ics.uci.edu/dataset/128/japanese+vowels",
        may_ship=True,
        options=ReadOptions(sequence_column="utterance", label_column="speaker"),
        note="of the 30 utterances of each speaker in train the last 6 as dev, a row for each frame",
    ),
    NamedDataset(
        name="indoor_movement_rss",
        tasks=("classification",),
        language="",
        splits={
            "train": Split(
                "train_sequences.csv",
                (
                    DataFile("train_targets.csv", "dc08cab8c195fb0afb32239233833cca4810eb42dc4e1360fd324f4504bf1317"),
                    DataFile("train_sequences.csv", "227f8dba87a32612afa182b00d981c9a968818a8431f77f34ea0c641d1db0a40"),
                ),
            ),
            "dev": Split(
                "dev_sequences.csv",
                (
                    DataFile("dev_targets.csv", "7e0f462342d87ff01608a3cf1d6f3bebd27164e98a2602c0ac41febc9ceb88e4"),
                    DataFile("dev_sequences.csv", "ace56439594b900171974c4d6562c51c3c6f4d765c0dc8fc586c1a509b9ab93a"),
                ),
            ),
        },
        licence="CC BY 4.0",
        attribution="Indoor User Movement Prediction from RSS: Davide Bacciu, Paolo Barsocchi, Stefano Chessa, Claudio "
        "Gallicchio, Alessio Micheli (2014), Neural Computing and Applications 24.",
        home="https://archive.ics.uci.edu/dataset/348",
        may_ship=True,
        options=ReadOptions(sequence_column="sequence", label_column="label"),
        note="sequences of groups 1 and 2; as dev those whose sha1 of `rss` and their number is below 15 modulo 100",
    ),
)
