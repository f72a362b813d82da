// Plain old JavaScript: says so when the modules did not start, because the browser cannot read them or they did not arrive.
(function () {
  var seen = "";
  var missing = false;
  window.addEventListener("error", function (event) {
    if (event.target && event.target.tagName === "SCRIPT") missing = true;
    if (event.message && !seen) seen = event.message;
  }, true);
  window.addEventListener("load", function () {
    if (document.body.getAttribute("data-state") !== "start") return;
    show(missing && !seen);
  });
  window.rtcctlOld = function (detail) { seen = detail; show(false); };

  function show(incomplete) {
    var parts = document.querySelectorAll("[data-in]");
    for (var i = 0; i < parts.length; i++) {
      var states = " " + parts[i].getAttribute("data-in") + " ";
      parts[i].hidden = states.indexOf(" old ") < 0;
    }
    document.body.setAttribute("data-state", "old");
    document.getElementById("old-link").textContent = location.href;
    document.getElementById("old-detail").textContent = navigator.userAgent + (seen ? "\n" + seen : "");
    if (!incomplete) return;
    var box = document.querySelector("[data-in=old]");
    box.querySelector("h1").textContent = "The page did not load completely";
    box.querySelector("p").textContent = "A part of it did not arrive. Load the page again.";
    box.querySelector(".facts").hidden = true;
  }
})();
