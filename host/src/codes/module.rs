//! Why a file in the modules folder is not taken.

use super::Entry;

pub(super) const ENTRIES: [Entry; 10] = [
    Entry {
        code: "module.not-wasm",
        means: "the file is no WebAssembly",
        why: "It is empty, text, a native program, or it was not copied to its end.",
        act: "build it into the folder with `wasmill build PATH -o DIR`; copy under another name and rename.",
    },
    Entry {
        code: "module.invalid",
        means: "the WebAssembly in it does not pass the compiler",
        why: "It was cut, its toolchain uses a feature that this host does not allow (threads, memory64, GC), or compiling it takes \
              more than `compile_time` or `compile_memory` of `[modules]`.",
        act: "copy or build it again; for modules of other toolchains switch the feature off that the message names.",
    },
    Entry {
        code: "module.foreign",
        means: "WebAssembly, but not a module for wasmill",
        why: "It exports none of the two entry points of `wit/`, or it imports from somebody else.",
        act: "use `wasmill new NAME` and `#[transform]`, or implement the world `wasmill:transform/transform`.",
    },
    Entry {
        code: "module.imports",
        means: "it wants something that no module gets",
        why: "A clock, files, sockets, the environment (WASI), or a function that this host's version does not have.",
        act: "leave it out: the record's timestamp is the clock, `vars()` the environment; build with this host's SDK.",
    },
    Entry {
        code: "module.version",
        means: "it was built for another version of the contract",
        why: "The package `wasmill:transform` in it has another version than the host's.",
        act: "build it with the `wasmill-sdk` of this host (`wasmill build` brings its own), or use a host of its version.",
    },
    Entry {
        code: "module.too-large",
        means: "the file is larger than a module may be",
        why: "Mostly a debug build, or data that was compiled in.",
        act: "build it with `wasmill build`, which sets the profile; keep data in topics or in `vars`.",
    },
    Entry {
        code: "module.unreadable",
        means: "the file cannot be read",
        why: "The host's user has no right to it, or the file system answers with an error.",
        act: "`chmod a+r` on the file and `a+rx` on the folder, or mount the volume readable for the host's user.",
    },
    Entry {
        code: "module.init",
        means: "it does not start",
        why: "`init` trapped, ran too long or returned an error: mostly a variable that is missing or cannot be parsed.",
        act: "correct `[flow.NAME] vars`, or the code that reads them; `wasmill try MODULE --vars name=value` shows it.",
    },
    Entry {
        code: "module.manifest",
        means: "what it says of itself cannot be",
        why: "No name, a target without a sink, a table that is declared twice, or a manifest that depends on variables.",
        act: "correct `#[transform(…)]` or the row type as the message says, and build it again.",
    },
    Entry {
        code: "module.example",
        means: "it fails an example that it brings along",
        why: "With the variables of its flow, an example of its manifest is rejected or makes another number of outputs.",
        act: "run `wasmill test`; the module that runs is not replaced before the examples pass.",
    },
];
