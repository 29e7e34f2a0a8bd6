"""The tasks of `InferenceClient(model=URL)` in huggingface_hub. Prints what each call returned."""

import json
import sys
from importlib.util import find_spec
from pathlib import Path

import huggingface_hub
from huggingface_hub import InferenceClient

TEXT = "Hello world , Ada lives in London . 😀 Ada"


def outcome(call):
    """What a call returned, or the class and the words of its error."""
    try:
        return call()
    except Exception as error:  # the class is what is asked for
        return f"{type(error).__name__}: {error}"


def vectors(tagger, generator):
    """What feature extraction returns; the client needs numpy for it."""
    return {
        "one": tagger.feature_extraction(TEXT).tolist(),
        "unit": tagger.feature_extraction(TEXT, normalize=True).tolist(),
        "of_generator": generator.feature_extraction("hello").tolist(),
        "truncated": outcome(lambda: tagger.feature_extraction(TEXT, truncate=True).tolist()),
    }


def main(base, sound, picture):
    def model(name):
        return InferenceClient(model=f"{base}/models/{name}")

    def features(name):
        return InferenceClient(model=f"{base}/models/{name}/pipeline/feature-extraction")

    classifier, tagger, translator = model("tiny-classifier"), model("tiny-tagger"), model("tiny-translator")
    listener, describer = model("tiny-sounds"), model("tiny-captioner")
    heard, seen = Path(sound).read_bytes(), Path(picture).read_bytes()
    return {
        "version": huggingface_hub.__version__,
        "labels": [dict(one) for one in classifier.text_classification("hello world")],
        "two_labels": [dict(one) for one in classifier.text_classification("hello world", top_k=2)],
        "softmax": [
            dict(one) for one in classifier.text_classification("hello world", function_to_apply="softmax", top_k=1)
        ],
        "entities": {
            strategy: [dict(one) for one in tagger.token_classification(TEXT, aggregation_strategy=strategy)]
            for strategy in (None, "none", "simple", "first", "average", "max")
        },
        "no_labels_ignored": [
            dict(one)
            for one in tagger.token_classification(TEXT, aggregation_strategy="none", ignore_labels=["nothing"])
        ],
        "translation": translator.translation("the cat sat").translation_text,
        "between": translator.translation("the cat sat", src_lang="en_XX", tgt_lang="de_DE").translation_text,
        "searched": translator.translation(
            "the cat sat", generate_parameters={"num_beams": 1, "max_new_tokens": 3}
        ).translation_text,
        "sounds": [dict(one) for one in listener.audio_classification(heard)],
        "sounds_of_file": [dict(one) for one in listener.audio_classification(sound)],
        "one_sound": [dict(one) for one in listener.audio_classification(heard, top_k=1)],
        "picture": describer.image_to_text(seen).generated_text,
        "picture_of_file": describer.image_to_text(picture).generated_text,
        "vectors": vectors(features("tiny-tagger"), features("tiny-generator")) if find_spec("numpy") else None,
        "similarity": InferenceClient(
            model=f"{base}/models/tiny-classifier/pipeline/sentence-similarity"
        ).sentence_similarity("hello world", ["hello world", "one two"]),
        "refused": {
            "language": outcome(lambda: translator.translation("the cat", src_lang="fr", tgt_lang="de")),
            "function": outcome(lambda: classifier.text_classification("hello", function_to_apply="sigmoid")),
            "top_k": outcome(lambda: classifier.text_classification("hello", top_k=0)),
            "empty": outcome(lambda: classifier.text_classification(" ")),
            "other_task": outcome(lambda: tagger.text_classification("hello", top_k=2)),
            "zero_shot": outcome(lambda: classifier.zero_shot_classification("hello", ["a", "b"])),
            "no_wave": outcome(lambda: listener.audio_classification(b"ID3 this is no wave file")),
            "text_for_sound": outcome(lambda: classifier.audio_classification(heard)),
            "no_picture": outcome(lambda: describer.image_to_text(heard)),
            "absent": outcome(lambda: model("absent").text_classification("hello")),
        },
    }


if __name__ == "__main__":
    print(json.dumps(main(*sys.argv[1:])))
