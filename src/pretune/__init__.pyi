"""Types of ``import pretune``. Written by ``python -m pretune.stubs``: change the settings classes instead."""

from collections.abc import Sequence
from os import PathLike
from typing import Any, Literal, Required, TypedDict, Unpack

from pretune import estimators as _estimators
from pretune.errors import PretuneError as PretuneError
from pretune.errors import PretuneWarning as PretuneWarning
from pretune.verbs.loaded import load as load
from pretune.interface.outcome import Outcome, Say
from pretune.runs.proven import open_model as open_model

__version__: str

_Place = str | PathLike[str]

class _Call(TypedDict, total=False):
    say: Say | None
    listeners: Sequence[Any]

class _Data(_Call, total=False):
    data: Any
    train: Any
    validation: Any
    test: Any
    unlabelled: Any
    column: str | Sequence[str]
    label_type: Literal['auto', 'class']
    unseen_labels: Literal['refuse', 'missed']
    group: str | None
    group_from: str | None
    ignore_class: str | Sequence[str]
    splits: Literal['auto', 'none']
    files: _Place | None
    trust_paths: bool
    header: Literal['auto', 'yes', 'no']
    delimiter: str | None
    encoding: str | None
    format: Literal['auto', 'table', 'lines', 'label-first', 'label-last', 'conll']
    unlabelled_is: Literal['skip', 'empty']
    poses: Literal['auto', 'picture', 'person']
    test_fold: str | None
    fold: str | None
    validation_fraction: float
    test_fraction: float
    split_seed: int

class _Clean(_Call, total=False):
    clean: Literal['html', 'whitespace', 'unicode', 'stopwords'] | Sequence[Literal['html', 'whitespace', 'unicode', 'stopwords']] | Literal['html', 'whitespace', 'unicode', 'stopwords', 'none'] | Sequence[Literal['html', 'whitespace', 'unicode', 'stopwords', 'none']] | None
    relabel: _Place | None
    deduplicate: bool
    drop_leaks: bool
    drop_near_leaks: bool
    redact: Literal['no', 'mask', 'pseudonym'] | bool | None
    redact_names: _Place | None
    redact_types: str | Sequence[str]

class _Inspect(_Clean, _Data, total=False):
    corpus: Any
    drift: bool
    near_duplicates: bool
    out: _Place | None
    strict: bool
    measure_leak_checks: int | None

class _Audio(_Call, total=False):
    sampling_rate: int | None

class _Image(_Call, total=False):
    image_size: int | None

class _Pooling(_Call, total=False):
    pooling: str

class _Text(_Call, total=False):
    max_length: int | None
    long_text: Literal['truncate', 'head-tail', 'windows']

class _Backbone(_Call, total=False):
    tokenizer: str
    vocab_size: int | None
    trust_remote_code: bool

class _AsCleaned(_Call, total=False):
    clean: Literal['html', 'whitespace', 'unicode', 'stopwords'] | Sequence[Literal['html', 'whitespace', 'unicode', 'stopwords']] | Literal['html', 'whitespace', 'unicode', 'stopwords', 'none'] | Sequence[Literal['html', 'whitespace', 'unicode', 'stopwords', 'none']] | None
    redact: Literal['no', 'mask', 'pseudonym'] | bool | None
    redact_names: _Place | None

class _Frozen(_AsCleaned, _Backbone, _Text, _Pooling, _Image, _Audio, _Clean, _Data, total=False):
    seed: int
    precision: Literal['auto', 'fp32', 'bf16']
    device: Literal['auto', 'cpu', 'cuda', 'mps']
    threads: int | None

class _Review(_Frozen, total=False):
    split: Literal['train', 'validation', 'test']
    most: int | None
    accept: int
    plant: float
    out: _Place

class _Ask(_Frozen, total=False):
    unlabelled: Any
    rows: int
    by: Literal['margin', 'coreset', 'random'] | Sequence[Literal['margin', 'coreset', 'random']]
    filled: _Place | None
    simulate: bool
    seeds: int
    resamples: int
    out: _Place

class _Out(_Call, total=False):
    out: _Place | None
    overwrite: bool

class _Run(_Out, total=False):
    dry_run: bool
    report_to: Literal['tensorboard', 'mlflow', 'wandb', 'trackio'] | Sequence[Literal['tensorboard', 'mlflow', 'wandb', 'trackio']]

class _Augment(_Call, total=False):
    augment: Literal['auto', 'none', 'light', 'strong']

class _Pretraining(_Text, _Image, _Audio, _Augment, total=False):
    objective: Literal['auto', 'masked-text', 'causal-text', 'span-text', 'permuted-text', 'replaced-text', 'contrastive-text', 'masked-image', 'contrastive-image', 'self-distillation-image', 'contrastive-audio', 'masked-audio', 'contrastive-clips', 'next-sample']
    mix: str
    mask_fraction: float | None
    mask_whole_words: bool
    bag_of_words: float
    embeddings: Literal['auto', 'cooccurrence', 'random']
    pack: Literal['auto', 'yes', 'no']

class _Stream(_Call, total=False):
    stream: bool

class _Shard(_Call, total=False):
    shard: bool

class _Train(_Call, total=False):
    epochs: float | None
    max_steps: int | None
    minutes: float | None
    batch_size: int | None
    micro_batch_size: int | None
    max_tokens: int
    learning_rate: float | None
    find_learning_rate: bool
    weight_decay: float
    schedule: Literal['linear', 'cosine', 'constant', 'plateau']
    plateau_patience: int
    plateau_factor: float
    warmup: str
    clip: float
    ema: float
    eval_every: str
    save_every: str | None
    early_stopping_patience: int | None
    precision: Literal['auto', 'fp32', 'bf16']
    activation_checkpointing: bool
    group_by_length: bool
    seed: int
    device: Literal['auto', 'cpu', 'cuda', 'mps']
    threads: int | None

class _Learn(_Backbone, _Train, _Text, _Image, _Audio, _Augment, _Clean, _Data, _Run, total=False):
    pass

class _Pretrain(_Learn, _Shard, _Stream, _Pretraining, total=False):
    batch_size: int | None

class _Privacy(_Call, total=False):
    dp_epsilon: float | None
    dp_delta: float | None
    dp_clip: float
    canaries: int

class _Decoding(_Call, total=False):
    beam_size: int
    max_new_tokens: int | None
    length_penalty: float | None
    no_repeat_ngram: int | None

class _Task(_Text, _Pooling, _Image, _Audio, _Augment, _Decoding, total=False):
    task: str
    head: str
    adapt: str
    llrd_decay: float
    lora_rank: int
    lora_alpha: float | None
    lora_targets: str
    cache_trunk: bool
    class_weights: Literal['none', 'auto']
    label_smoothing: float | None

class _LabelledTrain(_Train, total=False):
    batch_size: int | None

class _Finetune(_LabelledTrain, _Learn, _Shard, _Task, _Privacy, total=False):
    metric: str | None
    max_train_samples: int | None
    rewrite: str | None
    rewrites: int
    seeds: int
    folds: int | None
    tune: Literal['learning_rate', 'batch_size', 'weight_decay', 'label_smoothing', 'warmup'] | Sequence[Literal['learning_rate', 'batch_size', 'weight_decay', 'label_smoothing', 'warmup']]
    trials: int | None

class _Multitask(_Backbone, _LabelledTrain, _Run, total=False):
    set: str | Sequence[str]
    weights: str
    temperature: float
    adapt: str
    llrd_decay: float
    alone: bool
    split: Literal['test', 'validation']
    resamples: int

class _AsRead(_Call, total=False):
    column: str | Sequence[str]
    header: Literal['auto', 'yes', 'no'] | None
    delimiter: str | None
    encoding: str | None
    format: Literal['auto', 'table', 'lines', 'label-first', 'label-last', 'conll'] | None
    files: _Place | None
    trust_paths: bool

class _Derived(_Out, total=False):
    threads: int | None

class _Selftrain(_Derived, _LabelledTrain, _Run, _AsRead, total=False):
    unlabelled: Any
    method: Literal['fixmatch', 'pseudo-labels', 'mean-teacher']
    threshold: float
    unlabelled_weight: float
    unlabelled_ratio: int
    metric: str | None

class _Probe(_Frozen, total=False):
    split: Literal['validation', 'test']
    neighbours: int
    max_train_samples: int | None
    resamples: int

class _Answering(_Call, total=False):
    precision: Literal['auto', 'fp32', 'bf16']
    device: Literal['auto', 'cpu', 'cuda', 'mps']
    threads: int | None
    beam_size: int | None
    max_new_tokens: int | None
    length_penalty: float | None
    no_repeat_ngram: int | None
    take: int | None
    vocoder: _Place | None

class _Evaluate(_Answering, _AsRead, _AsCleaned, total=False):
    data: Any
    split: Literal['test', 'validation', 'train']
    baselines: bool
    slices: bool
    judge: _Place | None
    resamples: int

class _Writing(_Call, total=False):
    temperature: float | None
    top_p: float | None
    top_k: int | None
    stop: str | Sequence[str]
    sampling_seed: int | None

class _Predict(_Answering, _Writing, _AsRead, _AsCleaned, total=False):
    prompt: str | Sequence[str]
    chat: bool
    system: str | None
    speaker: str | None
    out: _Place | None
    save_files: _Place | None
    calibrated: bool
    window_rows: int
    part: str | None

class _Compare(_Call, total=False):
    split: str
    intersect: bool
    resamples: int

class _Drift(_Answering, _AsRead, _AsCleaned, total=False):
    split: Literal['auto', 'validation', 'test', 'train']
    max_rows: int
    alpha: float
    strict: bool
    permutations: int
    resamples: int
    seed: int
    out: _Place | None

class _Audit(_Answering, total=False):
    split: Literal['auto', 'test', 'validation']
    max_rows: int
    resamples: int
    seed: int
    strict: bool
    out: _Place | None

class _Benchmark(_Out, total=False):
    split: Literal['auto', 'validation', 'test']
    rows: int
    seconds: float
    precision: Literal['auto', 'fp32', 'bf16']
    threads: int | None
    resamples: int

class _Engine(_Call, total=False):
    engine: Literal['processes', 'ray']
    jobs: int | None

class _Study(_Data, _Clean, _Engine, _Run, total=False):
    budgets: str
    seeds: int
    set: str | Sequence[str]
    split: Literal['test', 'validation']
    target: float | None
    resamples: int
    seed: int

class _Distill(_Derived, _LabelledTrain, _Run, _AsRead, total=False):
    student: Required[str]
    teacher: bool
    data: Any
    unlabelled: Any
    temperature: float
    hard_weight: float
    hidden: Literal['auto', 'none']
    attention: Literal['auto', 'none']
    augment: Literal['auto', 'none', 'light', 'strong']
    tokenizer: str
    vocab_size: int | None
    image_size: int | None
    metric: str | None

class _Prune(_Derived, _LabelledTrain, _Run, total=False):
    ratio: float
    heads: float | None
    ffn: float | None
    rounds: int
    recover: bool
    score_rows: int
    vocabulary: Literal['keep', 'data']

class _Quantize(_Derived, _Train, total=False):
    max_steps: int | None
    batch_size: int | None
    eval_every: str
    to: Literal['int8']
    method: Literal['auto', 'dynamic', 'static', 'qat']
    calibration_rows: int
    calibration: Literal['auto', 'minmax', 'percentile', 'entropy']
    keep_float: str | Sequence[str]
    most_loss: float
    dry_run: bool

class _Export(_Derived, total=False):
    to: Literal['onnx', 'openvino', 'torch']
    tolerance: float
    nms: bool
    least_same: float

class _Report(_Call, total=False):
    out: _Place | None

class _Explain(_AsCleaned, total=False):
    text_pair: str | None
    row: str | None
    split: Literal['validation', 'test', 'train']
    label: str | None
    layer: int | None
    head: int | None
    view: Literal['auto', 'matrix', 'lines', 'picture']
    orders: int
    out: _Place | None
    png: _Place | None
    svg: _Place | None
    device: Literal['auto', 'cpu', 'cuda', 'mps']
    threads: int | None

class _Serve(_Answering, _AsCleaned, total=False):
    host: str
    port: int
    auth_token: str | None
    samples: int | None
    max_body_mb: float
    max_rows: int
    max_characters: int | None
    max_seconds: float | None
    max_waiting: int
    timeout: float
    explain_seconds: float

class _Push(_Call, total=False):
    license: str | None
    language: str | Sequence[str]
    datasets: str | Sequence[str]
    base_model: str | None
    private: bool
    message: str | None
    dry_run: bool

class _RunRecipe(_Engine, _Run, total=False):
    out: _Place | None
    dry_run: bool
    set: str | Sequence[str]

class _List(_Call, total=False):
    tasks: bool

class _Verify(_Call, total=False):
    accept: bool

class _Cache(_Call, total=False):
    clear: bool
    older_than: float | None
    keep: float | None

class _Completion(_Call, total=False):
    pass

class _Demo(_Call, total=False):
    out: _Place
    minutes: float
    labels: int
    seed: int

def inspect(*more: Any, **options: Unpack[_Inspect]) -> Outcome:
    """Look at the data: format, columns, balance, lengths, duplicates, leaks, conflicting labels, personal data."""

def review(backbone: _Place, **options: Unpack[_Review]) -> Outcome:
    """Rank the rows whose label looks wrong, and estimate how many are, by class."""

def ask(backbone: _Place, **options: Unpack[_Ask]) -> Outcome:
    """List the rows without labels whose labels would teach most, beside as many drawn at random."""

def pretrain(backbone: _Place, **options: Unpack[_Pretrain]) -> Outcome:
    """Learn from texts, pictures or sound without labels, from scratch or on from a model."""

def finetune(backbone: _Place, **options: Unpack[_Finetune]) -> Outcome:
    """Learn a task from labelled rows: texts, pictures or clips and their classes, clips and their transcripts."""

def multitask(backbone: _Place, *tasks: str | Sequence[str], **options: Unpack[_Multitask]) -> Outcome:
    """Learn several tasks at once: one trunk, a head for each, from the same rows or from files of their own."""

def selftrain(run: _Place, **options: Unpack[_Selftrain]) -> Outcome:
    """Let a fine-tuned classifier learn on from rows without labels (semi-supervised): from its own sure answers to them."""

def probe(backbone: _Place, **options: Unpack[_Probe]) -> Outcome:
    """Say in seconds what a model's features know of the classes: nothing of the model learns."""

def evaluate(run: _Place, **options: Unpack[_Evaluate]) -> Outcome:
    """Score a run on a split it never learned from: intervals, baselines, calibration, mistakes."""

def predict(run: _Place, *data: Any, **options: Unpack[_Predict]) -> Outcome:
    """Labels with probabilities, or transcripts, of new rows, as JSON lines or a table in the rows' order; ids are kept."""

def compare(a: _Place, b: _Place, **options: Unpack[_Compare]) -> Outcome:
    """Say which of two evaluated runs is better, or that no difference was shown."""

def drift(run: _Place, data: Any, **options: Unpack[_Drift]) -> Outcome:
    """Say whether new rows are like those a run was held against: tests of the inputs and the answers, and the accuracy to expect."""

def audit(run: _Place, **options: Unpack[_Audit]) -> Outcome:
    """Say whether it can be told which rows a run learned from: membership inference, canaries, a lower bound of epsilon."""

def benchmark(*runs: _Place | Sequence[_Place], **options: Unpack[_Benchmark]) -> Outcome:
    """Measure runs side by side on this machine: accuracy with its interval, latency at batch 1 and 32 with one and with all
    threads, rows a second, file size and peak memory."""

def study(*arms: str | Sequence[str], **options: Unpack[_Study]) -> Outcome:
    """Learn the same rows in several ways with few and many labels, and say what is worth it: curves with intervals over rows and
    seeds, labels saved, what more labels would bring, in one page."""

def distill(*run: Any, **options: Unpack[_Distill]) -> Outcome:
    """Teach a small model what a large one knows: its softened answers, its hidden states, what it attends to."""

def prune(run: _Place, **options: Unpack[_Prune]) -> Outcome:
    """Take out of a run's model what matters least to its task: heads, neurons, channels; let it recover; compare."""

def quantize(run: _Place, **options: Unpack[_Quantize]) -> Outcome:
    """Write a run's model as a graph with 8-bit weights and arithmetic for ONNX Runtime, and say what that is worth here."""

def export(run: _Place, **options: Unpack[_Export]) -> Outcome:
    """Write a run's model as a folder that answers without pretune, and prove on real rows that it answers the same."""

def report(run: _Place, **options: Unpack[_Report]) -> Outcome:
    """Write one self-contained page about a run: what was done, on which data, how well, and how to repeat it."""

def explain(run: _Place, example: str | None = ..., **options: Unpack[_Explain]) -> Outcome:
    """Show what an answer hangs on, with a test of whether that can be believed, and the true attention weights."""

def serve(run: _Place, **options: Unpack[_Serve]) -> Outcome:
    """Serve a model to programs and people of this machine: POST /predict, and a page at the address it prints."""

def push(run: _Place, name: str, **options: Unpack[_Push]) -> Outcome:
    """Send RUN/model to the Hugging Face hub: weights, tokenizer or processor, and a model card with its scores."""

def run(recipe: _Place, **options: Unpack[_RunRecipe]) -> Outcome:
    """Run a recipe: a YAML file of named steps, each a verb with its options, where $name stands for an earlier step's run."""

def list(folder: _Place = ..., **options: Unpack[_List]) -> Outcome:
    """Show the runs in a folder: what made them, on which data, their state and their scores; or the tasks."""

def verify(folder: _Place, **options: Unpack[_Verify]) -> Outcome:
    """Say whether every file of a run or model that is read again is what was written: weights, tokenizer, records, predictions."""

def cache(**options: Unpack[_Cache]) -> Outcome:
    """Show what is kept to save work (data as read, decoded pictures, outputs of frozen layers), and remove what is not needed."""

def completion(shell: Literal['bash', 'zsh', 'fish'], **options: Unpack[_Completion]) -> Outcome:
    """Print a script that lets a shell complete verbs, options, the values of options that have a few, and files."""

def demo(**options: Unpack[_Demo]) -> Outcome:
    """The whole story on real text, with no network: is pre-training worth it when labels are few?"""

class _Estimator(TypedDict, total=False):
    dp_epsilon: float | None
    dp_delta: float | None
    dp_clip: float
    canaries: int
    beam_size: int
    max_new_tokens: int | None
    length_penalty: float | None
    no_repeat_ngram: int | None
    out: _Place | None
    report_to: Literal['tensorboard', 'mlflow', 'wandb', 'trackio'] | Sequence[Literal['tensorboard', 'mlflow', 'wandb', 'trackio']]
    validation_fraction: float
    split_seed: int
    clean: Literal['html', 'whitespace', 'unicode', 'stopwords'] | Sequence[Literal['html', 'whitespace', 'unicode', 'stopwords']] | Literal['html', 'whitespace', 'unicode', 'stopwords', 'none'] | Sequence[Literal['html', 'whitespace', 'unicode', 'stopwords', 'none']] | None
    relabel: _Place | None
    deduplicate: bool
    drop_leaks: bool
    drop_near_leaks: bool
    redact: Literal['no', 'mask', 'pseudonym'] | bool | None
    redact_names: _Place | None
    redact_types: str | Sequence[str]
    augment: Literal['auto', 'none', 'light', 'strong']
    sampling_rate: int | None
    image_size: int | None
    pooling: str
    max_length: int | None
    long_text: Literal['truncate', 'head-tail', 'windows']
    head: str
    adapt: str
    llrd_decay: float
    lora_rank: int
    lora_alpha: float | None
    lora_targets: str
    cache_trunk: bool
    class_weights: Literal['none', 'auto']
    label_smoothing: float | None
    shard: bool
    epochs: float | None
    max_steps: int | None
    minutes: float | None
    batch_size: int | None
    micro_batch_size: int | None
    max_tokens: int
    learning_rate: float | None
    find_learning_rate: bool
    weight_decay: float
    schedule: Literal['linear', 'cosine', 'constant', 'plateau']
    plateau_patience: int
    plateau_factor: float
    warmup: str
    clip: float
    ema: float
    eval_every: str
    save_every: str | None
    early_stopping_patience: int | None
    precision: Literal['auto', 'fp32', 'bf16']
    activation_checkpointing: bool
    group_by_length: bool
    seed: int
    device: Literal['auto', 'cpu', 'cuda', 'mps']
    threads: int | None
    tokenizer: str
    vocab_size: int | None
    trust_remote_code: bool
    metric: str | None
    max_train_samples: int | None
    rewrite: str | None
    rewrites: int
    folds: int | None
    tune: Literal['learning_rate', 'batch_size', 'weight_decay', 'label_smoothing', 'warmup'] | Sequence[Literal['learning_rate', 'batch_size', 'weight_decay', 'label_smoothing', 'warmup']]
    trials: int | None

class TextClassifier(_estimators.TextClassifier):
    def __init__(self, backbone: _Place = ..., **options: Unpack[_Estimator]) -> None: ...

class ImageClassifier(_estimators.ImageClassifier):
    def __init__(self, backbone: _Place = ..., **options: Unpack[_Estimator]) -> None: ...

class AudioClassifier(_estimators.AudioClassifier):
    def __init__(self, backbone: _Place = ..., **options: Unpack[_Estimator]) -> None: ...

class TextRegressor(_estimators.TextRegressor):
    def __init__(self, backbone: _Place = ..., **options: Unpack[_Estimator]) -> None: ...

class ImageRegressor(_estimators.ImageRegressor):
    def __init__(self, backbone: _Place = ..., **options: Unpack[_Estimator]) -> None: ...

class AudioRegressor(_estimators.AudioRegressor):
    def __init__(self, backbone: _Place = ..., **options: Unpack[_Estimator]) -> None: ...
