// Before the first paint: the theme that was chosen in this browser. Without a choice the system's is followed.
(function () {
  var root = document.documentElement;
  var stored = null;
  try { stored = localStorage.getItem("rtcctl.theme"); } catch (e) { /* storage may be closed to the page */ }
  if (stored === "dark" || stored === "light") root.setAttribute("data-theme", stored);
  document.addEventListener("click", function (event) {
    var button = event.target.closest && event.target.closest("#theme");
    if (!button) return;
    var now = root.getAttribute("data-theme") ||
      (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
    var next = now === "dark" ? "light" : "dark";
    root.setAttribute("data-theme", next);
    try { localStorage.setItem("rtcctl.theme", next); } catch (e) { /* kept for this page only */ }
  });
})();
