//! Files of a project: as they lie in the working tree, and as they were in a revision.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use crate::Error;

/// Where files are read from. Paths are relative to the project's root, with `/` between parts.
pub(crate) trait Tree {
    /// The file at `path`, where there is one and it is text.
    fn read(&self, path: &str) -> Option<String>;

    /// What stands in the directory `path` (`""` for the root), in order: names, and whether each
    /// is a directory.
    fn list(&self, path: &str) -> Vec<(String, bool)>;
}

pub(crate) fn join(dir: &str, name: &str) -> String {
    if dir.is_empty() {
        name.to_owned()
    } else {
        format!("{dir}/{name}")
    }
}

/// The working tree, and files that are to be written there: they are read as if they were.
#[derive(Debug)]
pub(crate) struct Work {
    root: PathBuf,
    pending: RefCell<BTreeMap<String, String>>,
}

impl Work {
    pub(crate) fn new(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
            pending: RefCell::default(),
        }
    }

    /// Has `path` be written with this text.
    pub(crate) fn put(&self, path: &str, text: &str) {
        let mut pending = self.pending.borrow_mut();
        pending.insert(path.to_owned(), text.to_owned());
    }

    /// Writes a file of those that are to be written.
    pub(crate) fn write(&self, path: &str) -> Result<(), Error> {
        let file = self.root.join(path);
        let error = |error| Error::Write(path.to_owned(), error);
        if let Some(dir) = file.parent() {
            fs::create_dir_all(dir).map_err(error)?;
        }
        let pending = self.pending.borrow();
        fs::write(&file, pending.get(path).map_or("", String::as_str)).map_err(error)
    }
}

impl Tree for Work {
    fn read(&self, path: &str) -> Option<String> {
        let pending = self.pending.borrow().get(path).cloned();
        pending.or_else(|| fs::read_to_string(self.root.join(path)).ok())
    }

    fn list(&self, path: &str) -> Vec<(String, bool)> {
        let entries = fs::read_dir(self.root.join(path)).into_iter().flatten();
        let there = entries.filter_map(|entry| {
            let entry = entry.ok()?;
            let is_dir = entry.path().is_dir();
            Some((entry.file_name().into_string().ok()?, is_dir))
        });
        let pending = self.pending.borrow();
        let pending = pending.keys().filter_map(|file| {
            let below = file.strip_prefix(path)?;
            let below = if path.is_empty() {
                below
            } else {
                below.strip_prefix('/')?
            };
            let (name, rest) = below.split_once('/').unwrap_or((below, ""));
            Some((name.to_owned(), !rest.is_empty()))
        });
        let all: BTreeSet<_> = there.chain(pending).collect();
        all.into_iter().collect()
    }
}

/// The objects of a repository, read through one `git cat-file --batch`.
#[derive(Debug)]
pub(crate) struct Objects {
    pipe: RefCell<Pipe>,
}

#[derive(Debug)]
struct Pipe {
    child: Child,
    requests: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
    seen: BTreeMap<String, Option<Object>>,
}

#[derive(Clone, Debug)]
struct Object {
    id: String,
    kind: String,
    content: Vec<u8>,
}

impl Drop for Pipe {
    fn drop(&mut self) {
        // At the end of its input git leaves.
        self.requests = None;
        let _ = self.child.wait();
    }
}

impl Pipe {
    fn get(&mut self, name: &str) -> Option<Object> {
        if name.contains('\n') {
            return None;
        }
        if let Some(known) = self.seen.get(name) {
            return known.clone();
        }
        let answer = self.ask(name);
        self.seen.insert(name.to_owned(), answer.clone());
        answer
    }

    fn ask(&mut self, name: &str) -> Option<Object> {
        let requests = self.requests.as_mut()?;
        writeln!(requests, "{name}").ok()?;
        requests.flush().ok()?;
        let mut head = String::new();
        self.answers.read_line(&mut head).ok()?;
        // "<object> <type> <bytes>", or "<name> missing", in which the name may have blanks.
        let mut words = head.trim_end().rsplitn(3, ' ');
        let size: usize = words.next()?.parse().ok()?;
        let kind = words.next()?.to_owned();
        let id = words.next()?.to_owned();
        let mut content = vec![0; size + 1];
        self.answers.read_exact(&mut content).ok()?;
        content.truncate(size);
        Some(Object { id, kind, content })
    }
}

impl Objects {
    fn get(&self, name: &str) -> Option<Object> {
        self.pipe.borrow_mut().get(name)
    }
}

/// A revision of the repository.
#[derive(Debug)]
pub(crate) struct Revision<'a> {
    objects: &'a Objects,
    commit: String,
    // The project's root in the repository, with a slash at its end, or nothing.
    prefix: String,
}

impl Tree for Revision<'_> {
    fn read(&self, path: &str) -> Option<String> {
        let name = format!("{}:{}{path}", self.commit, self.prefix);
        match self.objects.get(&name)? {
            object if object.kind == "blob" => String::from_utf8(object.content).ok(),
            _ => None,
        }
    }

    fn list(&self, path: &str) -> Vec<(String, bool)> {
        let Some(object) = self.directory(path) else {
            return Vec::new();
        };
        // The id is in hexadecimal here and in bytes there.
        let mut out = entries(&object.content, object.id.len() / 2).unwrap_or_default();
        out.sort();
        out
    }
}

impl Revision<'_> {
    fn directory(&self, path: &str) -> Option<Object> {
        let path = format!("{}{path}", self.prefix);
        let name = format!("{}:{}", self.commit, path.trim_end_matches('/'));
        self.objects
            .get(&name)
            .filter(|object| object.kind == "tree")
    }

    /// What identifies the contents of the directory `path`.
    pub(crate) fn id(&self, path: &str) -> Option<String> {
        self.directory(path).map(|object| object.id)
    }
}

/// The entries of a tree object: mode, blank, name, NUL, the bytes of the object's name.
fn entries(mut tree: &[u8], hash: usize) -> Option<Vec<(String, bool)>> {
    let mut out = Vec::new();
    while !tree.is_empty() {
        let blank = tree.iter().position(|byte| *byte == b' ')?;
        let end = tree.iter().position(|byte| *byte == 0)?;
        let mode = tree.get(..blank)?;
        let name = String::from_utf8_lossy(tree.get(blank + 1..end)?).into_owned();
        out.push((name, mode == b"40000"));
        tree = tree.get(end + 1 + hash..)?;
    }
    Some(out)
}

/// What a check compares with: a revision, and the released ones.
#[derive(Debug)]
pub(crate) struct Repo {
    objects: Objects,
    prefix: String,
    /// The base commit and how to call it.
    base: Option<(String, String)>,
    /// Released versions: tag names, and whether HEAD is built on them.
    tags: Vec<(String, bool)>,
}

fn git(root: &Path, args: &[&str]) -> Option<String> {
    let output = command(root).args(args).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output
        .status
        .success()
        .then(|| text.trim_end_matches('\n').to_owned())
}

fn command(root: &Path) -> Command {
    let mut command = Command::new("git");
    // A hook's environment names its repository, which may be another one.
    for variable in ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX"] {
        command.env_remove(variable);
    }
    command.arg("-C").arg(root).stderr(Stdio::null());
    command
}

const BRANCHES: [&str; 4] = ["origin/main", "main", "origin/master", "master"];

impl Repo {
    /// The repository that `root` lies in; `None` where there is none, or no git.
    ///
    /// # Errors
    ///
    /// `revision` was asked for and is none.
    pub(crate) fn open(root: &Path, revision: Option<&str>) -> Result<Option<Self>, Error> {
        let no_revision = || revision.map(|name| Error::NoRevision(name.to_owned()));
        let Some(found) = git(root, &["rev-parse", "--show-prefix"]) else {
            return no_revision().map_or(Ok(None), Err);
        };
        let base = match revision {
            Some(name) => {
                let commit = format!("{name}^{{commit}}");
                // A name that begins with a dash is an option to git.
                let checked = git(
                    root,
                    &["rev-parse", "--verify", "--end-of-options", &commit],
                );
                let commit = checked.ok_or_else(|| Error::NoRevision(name.to_owned()))?;
                let shared = git(root, &["merge-base", "HEAD", &commit]);
                let shared = shared.unwrap_or(commit);
                Some((shared, name.to_owned()))
            }
            None => default_base(root),
        };
        let Some(objects) = objects(root) else {
            return no_revision().map_or(Ok(None), Err);
        };
        // Of a workspace, and of a crate: `v0.1.0`, `kho-block-v0.2.0`.
        const TAGS: [&str; 4] = ["tag", "--list", "v*", "*-v[0-9]*"];
        let all = git(root, &TAGS).unwrap_or_default();
        let merged = if all.is_empty() {
            String::new()
        } else {
            let merged: Vec<_> = TAGS.into_iter().chain(["--merged", "HEAD"]).collect();
            git(root, &merged).unwrap_or_default()
        };
        let merged: Vec<_> = merged.lines().collect();
        let tags = all
            .lines()
            .map(|tag| (tag.to_owned(), merged.contains(&tag)))
            .collect();
        Ok(Some(Self {
            objects,
            prefix: found,
            base,
            tags,
        }))
    }

    pub(crate) fn base(&self) -> Option<Revision<'_>> {
        let (commit, _) = self.base.as_ref()?;
        Some(self.revision(commit))
    }

    /// The base in words: `main (1a2b3c4)`.
    pub(crate) fn base_name(&self) -> Option<String> {
        let (commit, name) = self.base.as_ref()?;
        let short = commit.get(..7).unwrap_or(commit);
        Some(format!("{name} ({short})"))
    }

    /// The base as git takes it.
    pub(crate) fn base_commit(&self) -> Option<&str> {
        self.base
            .as_ref()
            .map(|(commit, _)| commit.get(..12).unwrap_or(commit))
    }

    /// The project's root in the repository, with a slash at its end, or nothing.
    pub(crate) fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The released revisions by tag, and whether HEAD is built on each.
    pub(crate) fn tags(&self) -> impl Iterator<Item = (&str, bool, Revision<'_>)> {
        self.tags.iter().map(|(tag, merged)| {
            (
                tag.as_str(),
                *merged,
                self.revision(&format!("refs/tags/{tag}")),
            )
        })
    }

    fn revision(&self, commit: &str) -> Revision<'_> {
        Revision {
            objects: &self.objects,
            commit: commit.to_owned(),
            prefix: self.prefix.clone(),
        }
    }
}

/// Where HEAD left the main branch; HEAD itself where that can not be told.
fn default_base(root: &Path) -> Option<(String, String)> {
    for branch in BRANCHES {
        if let Some(commit) = git(root, &["merge-base", "HEAD", branch]) {
            return Some((commit, branch.to_owned()));
        }
    }
    let head = git(root, &["rev-parse", "--verify", "--quiet", "HEAD"])?;
    Some((head, "HEAD".to_owned()))
}

fn objects(root: &Path) -> Option<Objects> {
    let mut child = command(root)
        .args(["cat-file", "--batch"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .ok()?;
    let requests = child.stdin.take()?;
    let answers = BufReader::new(child.stdout.take()?);
    Some(Objects {
        pipe: RefCell::new(Pipe {
            child,
            requests: Some(requests),
            answers,
            seen: BTreeMap::new(),
        }),
    })
}
