"use strict";
(function () {
  var all = document.getElementById("open-all");
  function set(open) {
    document.querySelectorAll("details").forEach(function (each) { each.open = open; });
  }
  if (all) {
    all.hidden = false;
    all.addEventListener("click", function () {
      var open = all.getAttribute("aria-pressed") !== "true";
      set(open);
      all.setAttribute("aria-pressed", String(open));
      all.textContent = open ? "Close all details" : "Open all details";
    });
  }
  window.addEventListener("beforeprint", function () { set(true); });
})();
