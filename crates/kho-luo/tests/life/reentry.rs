//! Handlers that call back what called them: a step within a step is refused, and nothing waits for itself.

use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use super::*;

/// Called in every step, by its name.
type Hook = Box<dyn FnMut(&'static str) + Send>;

/// Hands files and an object over that need no memory, and calls a hook in every step.
#[derive(Clone, Default)]
struct Caller(Arc<Mutex<Option<Hook>>>);

impl Caller {
    fn call(&self, step: &'static str) {
        if let Some(hook) = &mut *self.0.lock().unwrap() {
            hook(step);
        }
    }

    /// Calls `hook` from here on; returns the names of the steps.
    fn hook(&self, mut hook: impl FnMut(&'static str) + Send + 'static) -> mpsc::Receiver<String> {
        let (sender, steps) = mpsc::channel();
        *self.0.lock().unwrap() = Some(Box::new(move |step| {
            hook(step);
            sender.send(step.to_owned()).unwrap();
        }));
        steps
    }

    /// Lets go of the hook, and of what it has.
    fn unhook(&self) {
        *self.0.lock().unwrap() = None;
    }

    fn handlers(&self) -> Handlers {
        let handlers = Handlers::new().with(self.clone());
        handlers.with_flb([FAKE], Object(self.clone()))
    }
}

impl FileHandler for Caller {
    type File = u64;
    type Preserved = ();

    fn component(&self) -> &'static str {
        FAKE
    }

    fn writes(&self) -> &[u32] {
        &[1]
    }

    fn preserve(&self, _: &Kho, _: &Arc<u64>) -> Result<(), HandlerError> {
        self.call("preserve");
        Ok(())
    }

    fn unpreserve(&self, _: &Arc<u64>, (): ()) {
        self.call("unpreserve");
    }

    fn freeze(&self, file: &Arc<u64>, (): &mut ()) -> Result<u64, HandlerError> {
        self.call("freeze");
        Ok(**file)
    }

    fn unfreeze(&self, _: &Arc<u64>, (): &mut ()) {
        self.call("unfreeze");
    }

    fn hand_over(&self, _: &Arc<u64>, (): ()) {}

    fn retrieve(&self, _: &mut Retrieve<'_>, data: u64) -> Result<Arc<u64>, HandlerError> {
        self.call("retrieve");
        Ok(Arc::new(data))
    }

    fn can_finish(&self, _: &Attached, _: Option<&Arc<u64>>) -> Result<(), HandlerError> {
        self.call("can_finish");
        Ok(())
    }

    fn finish(&self, _: &mut Attached, _: u64, _: Option<Arc<u64>>) {
        self.call("finish");
    }
}

struct Object(Caller);

impl FlbHandler for Object {
    type Object = ();
    type Preserved = ();

    fn name(&self) -> &str {
        "object-v1"
    }

    fn preserve(&self, _: &Kho) -> Result<(u64, ()), HandlerError> {
        self.0.call("FLB preserve");
        Ok((7, ()))
    }

    fn unpreserve(&self, (): ()) {
        self.0.call("FLB unpreserve");
    }

    fn hand_over(&self, (): ()) {}

    fn retrieve(&self, _: &mut Retrieve<'_>, _: u64) -> Result<Arc<()>, HandlerError> {
        self.0.call("FLB retrieve");
        Ok(Arc::new(()))
    }

    fn finish(&self, _: &mut Attached, _: u64, _: Option<Arc<()>>) {
        self.0.call("FLB finish");
    }
}

/// Runs `test`, which is to end.
fn in_time(test: impl FnOnce() + Send + 'static) {
    let (sender, done) = mpsc::channel();
    let thread = thread::spawn(move || {
        test();
        sender.send(()).unwrap();
    });
    if done.recv_timeout(Duration::from_secs(60)) == Err(mpsc::RecvTimeoutError::Timeout) {
        panic!("a step waits for itself");
    }
    thread.join().unwrap();
}

fn luo(caller: &Caller) -> Orchestrator {
    let kho = kho(arena(), Writing::PLAIN);
    Orchestrator::new(kho, caller.handlers(), 0).unwrap()
}

fn steps(steps: &mpsc::Receiver<String>) -> Vec<String> {
    steps.try_iter().collect()
}

#[test]
fn no_step_of_the_outgoing_side_begins_another() {
    in_time(|| {
        let caller = Caller::default();
        let luo = luo(&caller);
        let (one, two) = (
            luo.create_session("one").unwrap(),
            Arc::new(luo.create_session("two").unwrap()),
        );
        let hook = {
            let (luo, two) = (luo.clone(), Arc::clone(&two));
            move |step: &'static str| {
                let refused = [
                    luo.create_session("three").map(drop).unwrap_err(),
                    luo.freeze().map(drop).unwrap_err(),
                    two.preserve(9, Arc::new(9u64)).unwrap_err(),
                ];
                for error in refused {
                    assert!(matches!(error, LuoError::InStep), "{step}: {error}");
                    let text = "called by a handler from within one of its steps";
                    assert_eq!(error.to_string(), text);
                }
                // What begins no step is answered.
                let sessions = if step.ends_with("unpreserve") { 1 } else { 2 };
                assert_eq!(
                    (luo.sessions(), two.files(), luo.number()),
                    (sessions, 0, 0)
                );
                assert!(format!("{luo:?}").contains("Orchestrator"));
                drop(luo.kho().preserver().alloc_preserve(1).unwrap());
            }
        };
        let seen = caller.hook(hook);
        one.preserve(1, Arc::new(1u64)).unwrap();
        luo.freeze().unwrap().unfreeze();
        drop(one);
        #[rustfmt::skip]
        let expected = [
            "FLB preserve", "preserve", "freeze", "unfreeze", "unpreserve", "FLB unpreserve",
        ];
        assert_eq!(steps(&seen), lines(&expected));
        caller.unhook();
        // It goes on.
        two.preserve(9, Arc::new(9u64)).unwrap();
        assert_eq!(luo.create_session("three").unwrap().files(), 0);
    });
}

/// A session that is dropped in the step `step` is closed, with its file, once that is over.
fn dropped_in(step: &'static str) {
    in_time(move || {
        let caller = Caller::default();
        let luo = luo(&caller);
        let (one, two) = (
            luo.create_session("one").unwrap(),
            luo.create_session("two").unwrap(),
        );
        two.preserve(2, Arc::new(2u64)).unwrap();
        let mut two = Some(two);
        let seen = caller.hook(move |now| {
            if now == step {
                drop(two.take());
            }
        });
        one.preserve(1, Arc::new(1u64)).unwrap();
        luo.freeze().unwrap().unfreeze();
        drop(one);
        let steps = steps(&seen);
        let gone = steps.iter().filter(|step| *step == "unpreserve").count();
        assert_eq!((gone, luo.sessions()), (2, 0), "{steps:?}");
        assert_eq!(steps.last().unwrap(), "FLB unpreserve");
        luo.create_session("two").unwrap();
        caller.unhook();
    });
}

macro_rules! dropped_in {
    ($($name:ident: $step:literal;)*) => {
        $(#[test]
        fn $name() {
            dropped_in($step);
        })*
    };
}

dropped_in! {
    a_session_that_is_dropped_while_preserving_is_closed: "preserve";
    a_session_that_is_dropped_while_freezing_is_closed: "freeze";
    a_session_that_is_dropped_while_unfreezing_is_closed: "unfreeze";
    a_session_that_is_dropped_while_unpreserving_is_closed: "unpreserve";
}

#[test]
fn no_step_of_the_incoming_side_begins_another() {
    in_time(|| {
        let caller = Caller::default();
        let luo = luo(&caller);
        let (one, two) = (
            luo.create_session("one").unwrap(),
            luo.create_session("two").unwrap(),
        );
        one.preserve(1, Arc::new(1u64)).unwrap();
        one.preserve(2, Arc::new(2u64)).unwrap();
        let frozen = luo.freeze().unwrap();
        drop((luo, one, two));
        let incoming = take_over(attach(frozen), caller.handlers());
        let session = Arc::new(incoming.session("one").unwrap());
        let hook = {
            let (incoming, session) = (incoming.clone(), Arc::clone(&session));
            move |step: &'static str| {
                let refused = [
                    session.retrieve_any(2).map(drop).unwrap_err(),
                    session.retrieve::<u64>(1).map(drop).unwrap_err(),
                    session.finish().unwrap_err(),
                    incoming.session("two").map(drop).unwrap_err(),
                    incoming.flb::<()>("object-v1").map(drop).unwrap_err(),
                    incoming.waiting().map(drop).unwrap_err(),
                    incoming.can_finish().unwrap_err(),
                    incoming.finish().map(drop).unwrap_err(),
                ];
                for error in refused {
                    assert!(matches!(error, IncomingError::InStep), "{step}: {error}");
                }
                // What begins no step is answered.
                assert_eq!((incoming.sessions().len(), incoming.files()), (2, 2));
                assert_eq!(
                    (session.tokens(), incoming.lost()),
                    (vec![1.into(), 2.into()], 0)
                );
                assert_eq!(
                    incoming.is_finished(),
                    step.ends_with(" finish") || step == "finish"
                );
                assert!(format!("{incoming:?}").contains("Incoming"));
            }
        };
        let seen = caller.hook(hook);
        assert_eq!(*session.retrieve::<u64>(1).unwrap(), 1);
        incoming.flb::<()>("object-v1").unwrap();
        incoming.finish().unwrap();
        #[rustfmt::skip]
        let expected = [
            "retrieve", "FLB retrieve", "can_finish", "can_finish", "finish", "finish",
            "FLB finish",
        ];
        assert_eq!(steps(&seen), lines(&expected));
        caller.unhook();
    });
}

#[test]
fn a_step_of_another_thread_is_waited_for() {
    in_time(|| {
        let caller = Caller::default();
        let luo = luo(&caller);
        let one = luo.create_session("one").unwrap();
        one.preserve(1, Arc::new(1u64)).unwrap();
        let (sender, made) = mpsc::channel();
        let seen = caller.hook({
            let luo = luo.clone();
            move |_| {
                let (luo, sender) = (luo.clone(), sender.clone());
                thread::spawn(move || sender.send(luo.create_session("two").map(drop)));
                thread::sleep(Duration::from_millis(20));
            }
        });
        let frozen = luo.freeze().unwrap();
        assert_eq!(steps(&seen), lines(&["freeze"]));
        // Not before the step was over.
        let refused = made.recv().unwrap().unwrap_err();
        assert!(matches!(refused, LuoError::Frozen), "{refused}");
        caller.unhook();
        drop(frozen);
    });
}
