//! `config/kubernetes.yaml` and `config/compose.yaml`: their readers accept them, their numbers
//! follow the defaults, and a pod that ends as they describe loses no request.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::harness::free_port;
use crate::harness::front::Front;
use crate::harness::http::get;
use crate::harness::load::{Load, Plan, Report, status_200};
use crate::harness::python_tools::{python_tool, yaml};
use crate::harness::server::{Server, Setup, collection, run};

/// The oldest version where a preStop hook may sleep without a feature gate, the first where that is stable, and
/// the newest that the validator knows.
const KUBERNETES: [&str; 3] = ["1.30.0", "1.34.0", "1.37.0"];

fn shipped(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn text(name: &str) -> String {
    fs::read_to_string(shipped(name)).expect(name)
}

/// The object of a kind in the manifest.
fn object(kind: &str) -> Value {
    let all = yaml(&shipped("config/kubernetes.yaml"));
    all.into_iter().find(|object| object["kind"] == kind).expect(kind)
}

/// The containers of a pod of the servers, and of one of the scan.
fn pods() -> [Value; 2] {
    [
        object("Deployment")["spec"]["template"].clone(),
        object("CronJob")["spec"]["jobTemplate"]["spec"]["template"].clone(),
    ]
}

/// A number of seconds of the defaults.
fn default_seconds(key: &str) -> u64 {
    let all: toml::Table = text("config/default.toml").parse().expect("TOML");
    all[key].as_integer().and_then(|seconds| u64::try_from(seconds).ok()).expect(key)
}

fn validate(version: &str, file: &Path) -> Output {
    let mut command = Command::new(python_tool("kubernetes-validate"));
    command.args(["--strict", "--kubernetes-version", version]).arg(file).output().expect("a validator")
}

#[test]
fn kubernetes_accepts_the_manifest() {
    let file = shipped("config/kubernetes.yaml");
    let objects = yaml(&file).len();
    for version in KUBERNETES {
        let output = validate(version, &file);
        let said =
            String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{version}: {said}");
        assert_eq!(said.matches(" passed for resource ").count(), objects, "{version}: {said}");
    }
}

/// The validator sees mistakes, and the version that the manifest names is the oldest that will do.
#[test]
fn kubernetes_refuses_mistakes() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("wrong.yaml");
    let manifest = text("config/kubernetes.yaml");
    for (right, wrong) in [
        ("maxUnavailable: 0", "maxUnavailible: 0"),
        ("                seconds: 5", "                seconds: five"),
        ("  schedule: ", "  shedule: "),
        ("  scaleTargetRef:", "  targetRef:"),
    ] {
        assert!(manifest.contains(right), "{right}");
        fs::write(&file, manifest.replace(right, wrong)).expect("a file");
        for version in KUBERNETES {
            assert!(!validate(version, &file).status.success(), "{version}: {wrong}");
        }
    }
    assert!(!validate("1.28.0", &shipped("config/kubernetes.yaml")).status.success(), "a hook that sleeps");
}

#[test]
fn times_of_pods_follow_the_defaults() {
    let [server, _] = pods();
    let spec = &server["spec"];
    let container = &spec["containers"][0];
    let load_and_boot = default_seconds("LOAD_TIMEOUT") + default_seconds("BOOT_TIMEOUT");
    assert_eq!(
        spec["terminationGracePeriodSeconds"],
        pre_stop().as_secs() + default_seconds("GRACEFUL_TIMEOUT") + 5
    );
    let patience = |probe: &str| {
        let number = |key: &str| container[probe][key].as_u64().expect(key);
        assert!(number("timeoutSeconds") <= number("periodSeconds"), "{probe}");
        assert_eq!(container[probe]["httpGet"], json!({"path": "/avalon/heartbeat", "port": "http"}));
        number("periodSeconds") * number("failureThreshold")
    };
    let start = patience("startupProbe");
    assert!((load_and_boot..load_and_boot + 30).contains(&start), "{start}");
    let progress = object("Deployment")["spec"]["progressDeadlineSeconds"].as_u64().expect("seconds");
    assert!(progress > start, "{progress}");
    assert!(patience("livenessProbe") > default_seconds("TIMEOUT") + default_seconds("BOOT_TIMEOUT"));
    // A server that hangs leaves the Service before the hook of one that stops is over.
    assert!(patience("readinessProbe") <= pre_stop().as_secs());
    let compose = &yaml(&shipped("config/compose.yaml"))[0]["services"]["avalon"];
    assert_eq!(compose["stop_grace_period"], format!("{}s", default_seconds("GRACEFUL_TIMEOUT") + 5));
    assert_eq!(compose["healthcheck"]["start_period"], format!("{load_and_boot}s"));
}

/// How long a pod goes on before it is told to stop.
fn pre_stop() -> Duration {
    let [server, _] = pods();
    let seconds = server["spec"]["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"].as_u64();
    Duration::from_secs(seconds.expect("seconds"))
}

/// The memory of servers is computed from the size of the collection in the comment.
#[test]
fn memory_of_servers_follows_the_snapshot() {
    let manifest = text("config/kubernetes.yaml");
    let (_, rest) = manifest.split_once("# For ").expect("the comment");
    let mut words = rest.split(' ');
    let mut number = || words.find_map(|word| word.replace(',', "").parse::<f64>().ok()).expect("a number");
    let snapshot = number() * number() / 1e6;
    let [server, _] = pods();
    let resources = &server["spec"]["containers"][0]["resources"];
    for (amount, share) in [
        (&resources["requests"]["memory"], 2.2),
        (&resources["limits"]["memory"], 3.5),
        (&server["spec"]["volumes"][1]["emptyDir"]["sizeLimit"], 2.2),
    ] {
        assert_eq!(amount, &json!(format!("{:.0}M", snapshot * share)));
    }
    assert!(resources["limits"]["cpu"].is_null());
}

/// As the Pod Security Standard "restricted" demands, with the image's account.
#[test]
fn pods_have_no_rights() {
    for pod in pods() {
        let spec = &pod["spec"];
        assert_eq!(spec["automountServiceAccountToken"], false);
        assert_eq!(spec["enableServiceLinks"], false);
        let security = &spec["securityContext"];
        assert_eq!(security["runAsNonRoot"], true);
        assert_eq!(security["seccompProfile"], json!({"type": "RuntimeDefault"}));
        let image = text("scripts/packaging/image");
        assert!(image.contains(&format!("\nUSER = {}\n", security["runAsUser"])), "{security}");
        assert_eq!(security["runAsGroup"], security["runAsUser"]);
        for container in spec["containers"].as_array().expect("containers") {
            assert_eq!(
                container["securityContext"],
                json!({
                    "allowPrivilegeEscalation": false,
                    "readOnlyRootFilesystem": true,
                    "capabilities": {"drop": ["ALL"]},
                })
            );
            // Where something is written, there is a volume.
            let mounts: Vec<&Value> = container["volumeMounts"].as_array().expect("mounts").iter().collect();
            assert!(mounts.iter().all(|mount| {
                let volumes = spec["volumes"].as_array().expect("volumes");
                let volume = volumes.iter().find(|volume| volume["name"] == mount["name"]).expect("a volume");
                (mount["readOnly"] == true) != volume["emptyDir"].is_object()
            }));
        }
    }
}

/// Objects name each other, the servers and not the scan, and this version of the image.
#[test]
fn objects_of_the_manifest_belong_together() {
    let [server, scan] = pods();
    let chosen = |selector: &Value, pod: &Value| {
        let wanted = selector.as_object().expect("labels");
        wanted.iter().all(|(label, value)| pod["metadata"]["labels"][label] == *value)
    };
    let (deployment, service, budget) =
        (object("Deployment"), object("Service"), object("PodDisruptionBudget"));
    let spread = server["spec"]["topologySpreadConstraints"].as_array().expect("constraints");
    assert_eq!(spread.len(), 2);
    let selectors = spread.iter().map(|constraint| &constraint["labelSelector"]["matchLabels"]);
    let others = [&deployment["spec"]["selector"]["matchLabels"], &service["spec"]["selector"]];
    for selector in selectors.chain(others).chain([&budget["spec"]["selector"]["matchLabels"]]) {
        assert!(chosen(selector, &server) && !chosen(selector, &scan), "{selector}");
    }
    assert_eq!(deployment["spec"]["strategy"]["rollingUpdate"], json!({"maxUnavailable": 0, "maxSurge": 1}));
    assert_eq!(budget["spec"]["maxUnavailable"], 1);
    let scaler = object("HorizontalPodAutoscaler");
    assert_eq!(scaler["spec"]["scaleTargetRef"]["name"], deployment["metadata"]["name"]);
    assert!(deployment["spec"]["replicas"].is_null() && scaler["spec"]["minReplicas"].as_u64() > Some(1));
    let config = object("ConfigMap");
    for pod in [&server, &scan] {
        assert_eq!(pod["spec"]["volumes"][0]["configMap"]["name"], config["metadata"]["name"]);
        let container = &pod["spec"]["containers"][0];
        assert_eq!(container["image"], format!("registry.example/avalon-music-server:{}", version()));
        let variables = container["env"].as_array().expect("variables");
        assert_eq!(variables[0], json!({"name": "AVALON_CONFIG", "value": "/etc/avalon/avalon.toml"}));
        assert_eq!(
            variables[1]["valueFrom"]["secretKeyRef"],
            json!({"name": "avalon-database", "key": "url"})
        );
    }
    let ports = &server["spec"]["containers"][0]["ports"];
    assert!(text("scripts/packaging/image").contains(&format!("\nPORT = {}\n", ports[0]["containerPort"])));
    assert_eq!(
        server["metadata"]["annotations"]["prometheus.io/port"],
        ports[1]["containerPort"].to_string()
    );
}

fn version() -> &'static str {
    env!("CARGO_PKG_VERSION")
}

/// Docker's own reader, which needs no Docker for that.
fn compose(file: &Path, arguments: &[&str], variables: &[(&str, &str)]) -> (bool, String) {
    let mut command = Command::new("docker-compose");
    command.arg("--file").arg(file).args(arguments).env_clear().envs(variables.iter().copied());
    command.env("PATH", "/usr/bin:/bin");
    let output = command.output().expect("docker-compose: scripts/install-test-deps installs it");
    let said =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (output.status.success(), said)
}

#[test]
fn compose_accepts_its_file() {
    let file = shipped("config/compose.yaml");
    let services = |arguments: &[&str]| {
        let (done, said) = compose(&file, &[arguments, &["config", "--services"]].concat(), &[]);
        assert!(done, "{said}");
        said.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
    };
    assert!(services(&[]).contains(&"avalon".to_owned()));
    assert_eq!(services(&["--profile", "postgresql"]), ["avalon", "database"]);
    let url = "postgresql://avalon:word@database/avalon";
    for (variables, shown) in [
        (&[][..], ["sqlite:////data/avalon.sqlite", "/srv/music"]),
        (&[("AVALON_DATABASE_URL", url), ("MUSIC", "/mnt/music")], [url, "/mnt/music"]),
    ] {
        let (done, said) = compose(&file, &["config"], variables);
        assert!(done && shown.iter().all(|shown| said.contains(shown)), "{said}");
        assert!(said.contains(&format!("image: avalon-music-server:{}", version())), "{said}");
    }
    let folder = tempfile::tempdir().expect("a folder");
    let wrong = folder.path().join("compose.yaml");
    fs::write(&wrong, text("config/compose.yaml").replace("cap_drop", "cap_drp")).expect("a file");
    assert!(!compose(&wrong, &["config"], &[]).0);
}

/// A server with the settings of the manifest, as far as the machine does not say others.
fn pod(artists: u32) -> Setup {
    let setup = Setup::with(&collection(artists));
    let config = object("ConfigMap")["data"]["avalon.toml"].as_str().expect("a file").to_owned();
    let bind = "METRICS_BIND = [\"0.0.0.0:9100\"]";
    assert!(config.contains(bind), "{config}");
    let file = setup.path("avalon.toml");
    fs::write(&file, config.replace(bind, &format!("METRICS_BIND = [\"127.0.0.1:{}\"]", free_port())))
        .expect("a file");
    setup.variable("AVALON_CONFIG", file.to_str().expect("UTF-8"))
}

#[test]
fn the_settings_of_the_manifest_are_settings() {
    let setup = pod(3);
    let file = setup.path("avalon.toml");
    let config = fs::read_to_string(&file).expect("a file");
    let metrics = config.split("METRICS_BIND = [\"").nth(1).and_then(|rest| rest.split('"').next());
    // The test reads lines that are no objects.
    let server = setup.variable("AVALON_LOG_FORMAT", "%(message)s").start();
    let answer = get(&format!("http://{}", metrics.expect("an address")), "/metrics");
    assert!(answer.status == 200 && answer.text().contains("avalon_snapshot_"), "{}", answer.text());
    assert_eq!(server.get("/avalon/metrics").status, 404);
    let arguments = ["--config", file.to_str().expect("UTF-8"), "--check-config"];
    let others = config.replace(metrics.expect("an address"), &format!("127.0.0.1:{}", free_port()));
    fs::write(&file, others).expect("a file");
    let url = server.database_url().to_owned();
    let (code, _, said) =
        run(env!("CARGO_BIN_EXE_avalon-master"), &arguments, &[("AVALON_DATABASE_URL", &url)]);
    assert_eq!((code, said.as_str()), (0, ""));
}

/// How late the machines of a cluster learn that a pod goes.
const LATE: Duration = Duration::from_secs(3);

/// Takes the first of two pods away under load: TERM after `hook`, while new connections come until [`LATE`].
fn stop_a_pod(hook: Duration) -> Report {
    let start = || pod(40).variable("AVALON_LOG_FORMAT", "%(levelname)s %(message)s").start();
    let (mut one, two): (Server, Server) = (start(), start());
    let service = Front::service(&[&one, &two]);
    let load =
        Load::start(&Plan::standard(&service.address, &["/avalon/songs", "/avalon/heartbeat"], status_200));
    load.wait_answers(200);
    let begin = Instant::now();
    // Both clocks of a cluster run from the same moment.
    thread::scope(|scope| {
        scope.spawn(|| {
            thread::sleep(LATE.saturating_sub(begin.elapsed()));
            assert_eq!(service.tell("set server avalon/one state drain").trim(), "");
        });
        thread::sleep(hook.saturating_sub(begin.elapsed()));
        one.signal(Signal::SIGTERM);
    });
    assert_eq!(one.wait_exit(), 0, "{}", one.log());
    let grace = object("Deployment")["spec"]["template"]["spec"]["terminationGracePeriodSeconds"].as_u64();
    assert!(begin.elapsed() < Duration::from_secs(grace.expect("seconds")), "{:?}", begin.elapsed());
    load.wait_answers(100);
    let report = load.stop();
    drop(service);
    two.assert_clean_shutdown();
    report
}

#[test]
fn a_pod_that_stops_loses_no_request() {
    stop_a_pod(pre_stop()).assert_nothing_lost(1000);
}

/// The other order shows that the test would see a loss, and the purpose of the hook.
#[test]
fn without_its_hook_a_pod_that_stops_loses_requests() {
    let report = stop_a_pod(Duration::ZERO);
    assert!(report.lost().map(|(_, count)| count).sum::<u64>() > 10, "{report:?}");
}
